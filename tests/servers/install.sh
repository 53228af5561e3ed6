#!/bin/sh
# Installs the servers the tests start privately, where they are missing. Debian: apt. Elsewhere: says what to install.
set -eu

missing=""
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null 2>&1 || missing="$missing postgresql"
command -v rabbitmq-server >/dev/null 2>&1 || ls /usr/lib/rabbitmq/bin/rabbitmq-server >/dev/null 2>&1 \
  || ls /usr/sbin/rabbitmq-server >/dev/null 2>&1 || missing="$missing rabbitmq-server"
command -v node >/dev/null 2>&1 || missing="$missing nodejs"
command -v npm >/dev/null 2>&1 || missing="$missing npm"
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
  echo "The tests need:$missing. Install them (PostgreSQL 13+, RabbitMQ 3.10+, Node.js 18+) and run this again." >&2
  exit 1
fi
if [ "$(id -u)" -eq 0 ]; then sudo=""; else sudo="sudo"; fi
echo "Installing:$missing"
# Only the programs are wanted: the services Debian would start are not.
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
$sudo apt-get update -qq
$sudo apt-get install -y -qq --no-install-recommends $missing
