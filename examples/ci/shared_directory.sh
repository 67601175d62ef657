#!/usr/bin/env bash
# Shards on machines that mount one folder: no step before or after pytest is needed.
# Savers may race, and may be killed; docs/store.md says what holds then.
# Usage: COMPILECACHE_STORE=/mnt/compilecache shared_directory.sh PYTEST_ARGUMENT…
set -euo pipefail
: "${COMPILECACHE_STORE:?name the shared folder in COMPILECACHE_STORE}"

pytest "$@"

# Once a night, on one machine, is enough.
if [ "${COMPILECACHE_PRUNE:-no}" = yes ]; then
  compilecache prune --store "$COMPILECACHE_STORE" --keep-days 30
fi
