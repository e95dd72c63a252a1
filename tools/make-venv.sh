#!/bin/sh
# Make one virtual environment from a lock file with hashes: tools/make-venv.sh FOLDER LOCK [--editable]
# Debian's python3 comes without ensurepip; as root the missing package is installed, else it is named.
set -eu
venv=$1 lock=$2 editable=${3:-}
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "openami needs Python 3.11 or newer; $python is $("$python" --version)" >&2
    exit 1
}
if ! "$python" -m venv "$venv" >/dev/null 2>&1; then
    rm -rf "$venv"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
        "$python" -m venv "$venv"
    else
        echo "cannot make a virtual environment: install python3-venv (apt-get install python3-venv)" >&2
        exit 1
    fi
fi
wheels=
[ "$editable" = --editable ] && wheels="--only-binary :all:"
# shellcheck disable=SC2086  # the option and its value are two words
"$venv/bin/python" -m pip install -q --disable-pip-version-check --require-hashes $wheels -r "$lock"
if [ "$editable" = --editable ]; then
    "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
fi
