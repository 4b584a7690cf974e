"""The attacker's process: ``python -m testkit.attacks NAME TARGET`` waits for a line with seconds, and attacks.

It prints ``ready`` when what it sends has been made, and at the end its CPU seconds and bytes as JSON.
"""

import json
import resource
import sys

from testkit.attacks import ATTACKS
from testkit.attacks.attacker import Attacker, Target


def main() -> None:
    """Attack once."""
    name, target = sys.argv[1:]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    attacker = Attacker(Target(**json.loads(target)))
    ATTACKS[name].run(attacker)
    print(json.dumps({"cpu": attacker.cpu, "sent": attacker.sent}), flush=True)


if __name__ == "__main__":
    main()
