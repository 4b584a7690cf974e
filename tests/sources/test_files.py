"""Which files make up a policy, and what they are called."""

import pytest

from ratelimitd.policy import PolicyErrors
from ratelimitd.sources.files import Paths, RuntimeFolder, describe, list_files, read_files, signature


def write(path, text="domain: d\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def config_map(folder, version, text):
    """Do as Kubernetes does: write a new copy, then flip the link that all files go through."""
    write(folder / f"..{version}" / "basic.yaml", text)
    (folder / "..data_tmp").symlink_to(f"..{version}")
    (folder / "..data_tmp").rename(folder / "..data")
    if not (folder / "basic.yaml").is_symlink():
        (folder / "basic.yaml").symlink_to("..data/basic.yaml")


def names(source):
    return [file.name for file in list_files(source)]


def test_watching_the_root_keeps_the_application_directory_in_the_name(tmp_path):
    """Everything below root/subdirectory counts whose runtime key begins with the directory's name."""
    for name in ("config/basic.yaml", "config/more/deep.txt", "config.yaml", "other/x.yaml", "configs/y.yaml"):
        write(tmp_path / "sub" / name)
    write(tmp_path / "config" / "outside.yaml")
    source = RuntimeFolder(str(tmp_path), "sub")
    assert names(source) == ["config.basic.yaml", "config.more.deep.txt", "config.yaml"]


def test_watching_the_directory_leaves_its_name_out(tmp_path):
    """Everything below root/subdirectory/appdirectory counts."""
    write(tmp_path / "sub" / "rules" / "basic.yaml")
    write(tmp_path / "sub" / "rules" / "more" / "deep.yaml")
    write(tmp_path / "sub" / "other.yaml")
    assert names(RuntimeFolder(str(tmp_path), "sub", "rules", watch_root=False)) == ["basic.yaml", "more.deep.yaml"]


@pytest.mark.parametrize(("ignore", "expected"), [(False, [".hidden", ".x.y.yaml", "a.yaml"]), (True, ["a.yaml"])])
def test_dot_files_are_ignored_when_told(tmp_path, ignore, expected):
    """Files and folders alike."""
    for name in (".hidden", ".x/y.yaml", "a.yaml"):
        write(tmp_path / "config" / name)
    assert names(RuntimeFolder(str(tmp_path), watch_root=False, ignore_dotfiles=ignore)) == expected


@pytest.mark.scenario("a policy in a ConfigMap")
def test_a_config_map_is_read_once_without_being_told(tmp_path):
    """Its ``..`` copies are never a policy, so no domain is there twice."""
    config_map(tmp_path / "config", "2024", "domain: d\n")
    assert read_files(RuntimeFolder(str(tmp_path), watch_root=False)) == [("basic.yaml", b"domain: d\n")]


@pytest.mark.scenario("a policy in a ConfigMap")
def test_a_config_map_flip_changes_the_signature(tmp_path):
    """Also when the new copy has the same size."""
    source = RuntimeFolder(str(tmp_path), watch_root=False)
    config_map(tmp_path / "config", "1", "domain: a\n")
    before = signature(source)
    assert signature(source) == before
    config_map(tmp_path / "config", "2", "domain: b\n")
    assert signature(source) != before


def test_a_swapped_root_changes_the_signature(tmp_path):
    """RUNTIME_ROOT is classically a link to the current release."""
    write(tmp_path / "v1" / "config" / "a.yaml")
    write(tmp_path / "v2" / "config" / "a.yaml")
    root = tmp_path / "current"
    root.symlink_to("v1")
    source = RuntimeFolder(str(root))
    before = signature(source)
    root.unlink()
    root.symlink_to("v2")
    assert signature(source) != before
    assert describe(source) == str(tmp_path / "v2")


@pytest.mark.parametrize("change", ["write", "add", "remove", "chmod", "vanish"])
def test_every_change_changes_the_signature(tmp_path, change):
    """Whatever could mean another policy is noticed."""
    file = write(tmp_path / "config" / "a.yaml")
    source = RuntimeFolder(str(tmp_path), watch_root=False)
    before = signature(source)
    changes = {
        "write": lambda: file.write_text("domain: e\n\n"),
        "add": lambda: write(tmp_path / "config" / "b.yaml"),
        "remove": file.unlink,
        "chmod": lambda: file.chmod(0o600),
        "vanish": lambda: (tmp_path / "config").rename(tmp_path / "gone"),
    }
    changes[change]()
    assert signature(source) != before


def test_links_to_folders_are_not_followed(tmp_path):
    """A link to a folder above would never end."""
    write(tmp_path / "config" / "a.yaml")
    (tmp_path / "config" / "loop").symlink_to(tmp_path)
    assert names(RuntimeFolder(str(tmp_path), watch_root=False)) == ["a.yaml"]


def test_named_paths_are_files_and_folders(tmp_path):
    """Files keep the name they were given, files of a folder have its path before theirs."""
    file = write(tmp_path / "one.yaml")
    write(tmp_path / "folder" / "b.yaml")
    write(tmp_path / "folder" / "a.yaml")
    write(tmp_path / "folder" / ".a.yaml.swp")
    folder = str(tmp_path / "folder")
    assert names(Paths((str(file), folder))) == [str(file), f"{folder}/a.yaml", f"{folder}/b.yaml"]


def test_what_cannot_be_read_is_an_error_of_its_file(tmp_path):
    """Missing folders and more bytes than allowed are named."""
    with pytest.raises(PolicyErrors, match=r"nowhere: cannot be read: No such file"):
        read_files(Paths((str(tmp_path / "nowhere"),)))
    write(tmp_path / "config" / "big.yaml", "x" * 100)
    with pytest.raises(PolicyErrors) as caught:
        read_files(RuntimeFolder(str(tmp_path)), most=10)
    assert [(error.file, error.message.partition(": ")[2][:12]) for error in caught.value.errors] == [
        ("config.big.yaml", "the policy f"),
    ]


def test_an_empty_folder_is_no_error(tmp_path):
    """It is a policy of no domains."""
    assert read_files(RuntimeFolder(str(tmp_path))) == []
