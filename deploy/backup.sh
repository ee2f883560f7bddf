#!/bin/sh
# Copies the journal and the ledger of a working archive; docs/operations.md says how to restore.
#
#     SEBAGO_DATA=/var/lib/sebago deploy/backup.sh /mnt/backup/sebago
#
# Needs rsync and sqlite3. Safe while the server runs, and safe to interrupt and repeat. The journal goes
# first: every object of the copy then finds its facility in the ledger of the copy.
set -eu
data=${SEBAGO_DATA:?names the data folder}
to=${1:?names the folder to copy into}
umask 077
mkdir -p "$to/journal"

# Segments are only ever added to. One that is being written is copied as far as it is; what was
# under way in it is a torn tail of the copy, of which nobody was told when the copy began.
rsync -a --include='*/' --include='*.seg' --include='*.open' --include='*.cut' --include='lock' \
    --exclude='*' "$data/journal/" "$to/journal/"

# A segment that was open at the last backup and is sealed now stands there under both names.
find "$to/journal" -name '*.open' | while read -r open; do
    if [ -e "${open%.open}.seg" ]; then rm -f "$open"; fi
done

# With PostgreSQL the ledger is in the database: pg_dump --schema=ledger instead.
if [ -e "$data/ledger.db" ]; then
    sqlite3 "$data/ledger.db" '.timeout 20000' ".backup '$to/ledger.db.new'"
    mv "$to/ledger.db.new" "$to/ledger.db"
fi
