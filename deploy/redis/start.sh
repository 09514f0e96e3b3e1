#!/bin/sh
# Start Valkey (or Redis) in a container with permitwait.conf and users.acl; a login works where its password is set:
# WORKER_PASSWORD, PRODUCER_PASSWORD, OPERATOR_PASSWORD, VIEWER_PASSWORD, FLOWER_PASSWORD, GOVERNOR_PASSWORD,
# POSITION_PASSWORD. PERMITWAIT_BIND: the interfaces to listen on. The rest is for tests: other folders and port.
# Runs as the image's own user, who owns the data folder.
set -euf
umask 077
files=${PERMITWAIT_FILES:-/etc/permitwait}
data=${PERMITWAIT_DATA:-/data}
server=$(command -v valkey-server || command -v redis-server)

while read -r word name rules; do
  secret=$(printenv "$(printf %s "$name" | tr '[:lower:]' '[:upper:]')_PASSWORD" || true)
  # Only its hash is written; a login without a password stays shut.
  if [ -n "$secret" ]; then rules="#$(printf %s "$secret" | sha256sum | cut -d' ' -f1) $rules"; fi
  printf '%s %s %s\n' "$word" "$name" "$rules"
done <"$files/users.acl" >"$data/users.acl"

# The file's own folder, logins and socket are those of a machine.
grep -vE '^(dir|aclfile|bind|port|unixsocket|unixsocketperm) ' "$files/permitwait.conf" >"$data/redis.conf"
exec "$server" "$data/redis.conf" --dir "$data" --aclfile "$data/users.acl" \
  --bind ${PERMITWAIT_BIND:-127.0.0.1 -::1} --port "${PERMITWAIT_PORT:-6379}"
