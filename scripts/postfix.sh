#!/usr/bin/env bash
# Says whether the tests against Postfix can run here: Postfix is installed, from Debian if it must be, and
# may be started, which takes root. What is installed is never started as a service of the system.
set -eu
[ "$(id -u)" = 0 ] || { echo "Postfix starts as root only" >&2; exit 1; }
[ ! -x /usr/sbin/postfix ] || exit 0
command -v apt-get >/dev/null || { echo "Missing: Postfix (on Debian: apt-get install postfix)" >&2; exit 1; }
echo "Installing postfix" >&2
export DEBIAN_FRONTEND=noninteractive
# Its setup would start it; this is how Debian is told not to. What others said there stays.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f $policy' EXIT
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod 755 $policy
fi
{ timeout 60 apt-get update -qq && timeout 120 apt-get install -y -qq --no-install-recommends postfix; } </dev/null >&2
[ -x /usr/sbin/postfix ]
