"""Helpers that tests share: the model of a switch, the data plane in a namespace, frames."""

import os
import platform

#: In the virtual machine, where a second has about a thirtieth of the instructions.
EMULATED = os.environ.get("VNETX_VM") == "1"

#: Whether TC programs are attached by links.
HAS_TCX = tuple(map(int, platform.release().split(".")[:2])) >= (6, 6)
