#!/bin/bash
# Run the tests: what can share the machine on several processes, then the rest alone.
#
#   packaging/test.sh all|fast|vm [PYTEST-OPTION…]
#
# vm is what the virtual machine runs (tests/vm/run.sh): all but what says that it cannot run there.
set -uo pipefail

cd "$(dirname "$0")/.."

# Two for each processor of a small machine: tests wait a good deal.
workers=4
case ${1:-} in
all) parallel="not serial" alone="serial" ;;
fast) # the inner loop: neither the harness nor other implementations, and one case of what has many
    parallel="not serial and not vm and not slow" alone="serial and not vm and not slow"
    export VNETX_ONE_CASE=1 PYTEST_ADDOPTS="${PYTEST_ADDOPTS:-} --ignore=tests/interop --ignore=tests/perf"
    ;;
vm) workers=2 parallel="not serial and not novm" alone="serial and not novm" ;;
*)
    echo "usage: $0 all|fast|vm [PYTEST-OPTION…]" >&2
    exit 2
    ;;
esac
shift

reports=$(mktemp -d)

# Each program that is put on a device, and each that is taken off, waits for all processors with the lock of all
# devices held (synchronize_rcu): a sixth of the time. The kernel may be asked not to take its time.
hurry=/sys/kernel/rcu_expedited
[ -w $hurry ] || hurry=/dev/null
before=$(<$hurry)
echo 1 >$hurry
trap 'rm -rf "$reports"; echo "$before" >$hurry' EXIT
status=0

# Exit status 5 says that a marker selected nothing, which one of the two passes may.
layers() {
    local name=$1 rc
    shift
    .venv/bin/python -m pytest --junitxml="$reports/$name.xml" "$@"
    rc=$?
    [ $rc -eq 0 ] || [ $rc -eq 5 ] || status=$rc
}

layers parallel -n $workers --dist loadgroup -m "$parallel" "$@"
layers alone -m "$alone" "$@"

.venv/bin/python - "$reports" <<'PYTHON' || status=1
import sys
from pathlib import Path
from xml.etree import ElementTree

suites = [s for f in Path(sys.argv[1]).glob("*.xml") for s in ElementTree.parse(f).iter("testsuite")]
total, skipped, failed = (
    sum(int(s.get(key, 0)) for s in suites for key in keys)
    for keys in (["tests"], ["skipped"], ["failures", "errors"])
)
print(f"{total - skipped - failed} passed, {failed} failed, {skipped} skipped")
if total == skipped:
    sys.exit("error: no test was executed")
PYTHON
exit $status
