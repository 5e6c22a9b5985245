"""Other libraries' names over Maskwright: `import maskwright.compat.xgrammar as xgr` instead of `import xgrammar as xgr`.

Packages here stay flat, so `maskwright.compat.xgrammar` is no folder: importing this module enters the modules that stand
for it into `sys.modules`, as Python's own `os` does with `os.path`.
"""

from __future__ import annotations

import sys

from maskwright import compat_xgrammar as xgrammar
from maskwright.compat_xgrammar import contrib

__all__ = ["xgrammar"]

sys.modules[f"{__name__}.xgrammar"] = xgrammar
sys.modules[f"{__name__}.xgrammar.contrib"] = contrib
sys.modules[f"{__name__}.xgrammar.contrib.hf"] = contrib.hf
