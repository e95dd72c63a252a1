#!/bin/sh
# What the tests need beyond Python: PostgreSQL, Chromium with Chinese glyphs, libatomic for Playwright's
# driver. As root on Debian they are installed; elsewhere each test that misses one is skipped by name.
set -u
missing=
[ -x /usr/lib/postgresql/15/bin/initdb ] || missing="$missing postgresql-15"
[ -x /usr/bin/chromium ] || missing="$missing chromium"
fc-list 2>/dev/null | grep -qi wenquanyi || missing="$missing fonts-wqy-zenhei fontconfig"
ldconfig -p | grep -q libatomic.so.1 || missing="$missing libatomic1"
[ -z "$missing" ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "not installed, tests that need them are skipped by name:$missing" >&2
    exit 0
fi
apt-get update -qq || true
for package in $missing; do
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null 2>&1 ||
        echo "could not install $package: tests that need it are skipped by name" >&2
done
exit 0
