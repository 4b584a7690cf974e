"""Compile all .proto files in this folder into one descriptor set: ``python protos/compile.py OUTPUT``."""

import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).parent


def compile_to(output: Path) -> None:
    """Write the descriptor set, including imports. Raises SystemExit with protoc's exit code on an error."""
    sources = sorted(str(path.relative_to(HERE)) for path in HERE.rglob("*.proto"))
    well_known = files("grpc_tools") / "_proto"
    code = protoc.main(
        ["protoc", f"-I{HERE}", f"-I{well_known}", "--include_imports", f"--descriptor_set_out={output}", *sources]
    )
    if code:
        raise SystemExit(code)


if __name__ == "__main__":
    compile_to(Path(sys.argv[1]))
