#!/usr/bin/env bash
# Asks osv.dev for known vulnerabilities of the packages in an environment: make audit. No part of
# the checks: it needs the network, and its answer changes without a change here.
# Usage: audit.sh ENVIRONMENT PYTHON
set -euo pipefail
environment=$1 python=$2 own=$1/audit
"$environment/bin/python" - <<'END'
import sys
import urllib.error
import urllib.request

try:
    urllib.request.urlopen("https://api.osv.dev/", timeout=20)
except urllib.error.HTTPError:
    pass  # it answers
except OSError as error:
    sys.exit(
        "error: expected to reach api.osv.dev, which lists known vulnerabilities, got: "
        f"{getattr(error, 'reason', error)}; run make audit where it can be reached"
    )
END
if ! test -x "$own/bin/pip-audit"; then
  "$python" -m venv --clear "$own"
  "$own/bin/python" -m pip --disable-pip-version-check install --quiet pip-audit
fi
packages=$("$environment/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
exec "$own/bin/pip-audit" --vulnerability-service osv --progress-spinner off --path "$packages"
