#!/usr/bin/env bash
# Captures the change records of this directory anew: a PostgreSQL cluster of its own in a temporary
# directory, Debezium engines beside it, a workload by pgbench, then PostgreSQL's own last word.
#
# Needs: PostgreSQL with contrib (Debian: postgresql), Java 17, Maven, Python 3. Runs as root (the
# cluster then runs as the user `postgres`) or as any other user. Takes about a minute.
#
#   usage: tests/data/capture.sh [output directory; default: this directory]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
output=$(mkdir -p "${1:-$here}" && cd "${1:-$here}" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/weir-capture.XXXXXX")
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
transactions=${TRANSACTIONS:-1500} # of pgbench's own kind, per client
export TZ=UTC PGTZ=UTC LC_ALL=C.UTF-8 PGHOST=127.0.0.1 PGPORT=$port PGUSER=postgres PGDATABASE=shop

as_postgres() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }
engines=()
clean_up() {
    for pid in "${engines[@]}"; do kill "$pid" 2>/dev/null || true; done
    as_postgres "$bin/pg_ctl" -D "$work/cluster" -m immediate stop >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap clean_up EXIT

echo "cluster in $work, port $port"
chmod 755 "$work"
mkdir "$work/cluster"
if [ "$(id -u)" = 0 ]; then chown postgres "$work/cluster"; fi
as_postgres "$bin/initdb" -D "$work/cluster" -U postgres -A trust -E UTF8 --locale=C.UTF-8 >/dev/null
as_postgres "$bin/pg_ctl" -D "$work/cluster" -w -l "$work/cluster/log" -o "-p $port \
    -c listen_addresses=127.0.0.1 -c unix_socket_directories=$work/cluster -c wal_level=logical \
    -c max_replication_slots=8 -c max_wal_senders=8 -c timezone=UTC -c fsync=off" start >/dev/null
createdb --maintenance-db=postgres shop
pgbench -q -i -s 1 2>/dev/null
psql -q -v ON_ERROR_STOP=1 -f "$here/workload.sql" >/dev/null

mvn -B -q -f "$here/pom.xml" dependency:build-classpath -Dmdep.outputFile="$work/classpath"

# engine <name> <tables> <further settings...>: one Debezium engine with a slot of its own.
engine() {
    local name=$1 tables=$2
    shift 2
    {
        echo "name=$name"
        echo "connector.class=io.debezium.connector.postgresql.PostgresConnector"
        echo "offset.storage=org.apache.kafka.connect.storage.MemoryOffsetBackingStore"
        echo "database.hostname=127.0.0.1"
        echo "database.port=$port"
        echo "database.user=postgres"
        echo "database.password=unused"
        echo "database.dbname=shop"
        echo "topic.prefix=shop"
        echo "plugin.name=pgoutput"
        echo "slot.name=$name"
        echo "publication.name=$name"
        echo "publication.autocreate.mode=filtered"
        echo "snapshot.mode=initial"
        echo "table.include.list=$(echo "$tables capture_end" | sed 's/\([^ ]*\)/public.\1/g; s/ /,/g')"
        printf '%s\n' "$@"
    } >"$work/$name.properties"
    java -Xmx768m -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$(cat "$work/classpath")" \
        "$here/Capture.java" "$work/$name.properties" "$work/$name" >"$work/$name.out" 2>"$work/$name.log" &
    engines+=($!)
}
plain=(key.converter.schemas.enable=false value.converter.schemas.enable=false)
with_schema=(key.converter.schemas.enable=true value.converter.schemas.enable=true)
tables="customers products orders order_items types pgbench_accounts pgbench_tellers pgbench_branches pgbench_history"
engine main "$tables" "${plain[@]}"
engine envelope "types products" "${with_schema[@]}"
engine text "types" "${plain[@]}" decimal.handling.mode=string time.precision.mode=isostring binary.handling.mode=hex
engine connect "types" "${plain[@]}" decimal.handling.mode=double time.precision.mode=connect binary.handling.mode=base64
for name in main envelope text connect; do
    waited=0
    until [ -e "$work/$name/ready" ]; do
        sleep 1
        waited=$((waited + 1))
        if [ $waited -gt 300 ]; then tail -20 "$work/$name.log"; echo "$name: no snapshot"; exit 1; fi
    done
    echo "$name: snapshot read"
done

# The workload: pgbench's own transaction, and ours by weight, four clients each.
one() { echo "SELECT $1();" >"$work/$1.pgbench"; echo "-f $work/$1.pgbench@$2"; }
pgbench -n -c 4 -t "$transactions" --random-seed=1 >"$work/pgbench.out" 2>&1
# shellcheck disable=SC2046
pgbench -n -c 4 -t 2500 --random-seed=2 $(one place_order 30) $(one advance_order 40) \
    $(one purge_cancelled 3) $(one change_customer 12) $(one change_product 10) \
    $(one close_account 6) $(one change_types 5) >>"$work/pgbench.out" 2>&1
psql -q -c "INSERT INTO capture_end VALUES (1)"
for pid in "${engines[@]}"; do wait "$pid"; done
engines=()

# What PostgreSQL says that the tables hold, in the order of their keys. JSON documents are dumped
# as the text that Debezium sends, so that null and the document `null` stay apart.
dump() {
    local columns
    columns=$(psql -q -At -c "SELECT string_agg(quote_ident(column_name)
            || CASE data_type WHEN 'jsonb' THEN '::text' ELSE '' END, ', ' ORDER BY ordinal_position)
        FROM information_schema.columns WHERE table_schema = 'public' AND table_name = '$1'")
    psql -q -v ON_ERROR_STOP=1 -At -c "COPY (SELECT to_json(t) FROM (SELECT $columns FROM $1) t ORDER BY $2)
        TO STDOUT (FORMAT csv, DELIMITER E'\\x01', QUOTE E'\\x02')" | gzip -9n >"$output/$1.final.jsonl.gz"
}
dump customers id
dump products 'sku COLLATE "C"'
dump orders id
dump order_items 'order_id, line'
dump types id
dump pgbench_accounts aid
dump pgbench_tellers tid
dump pgbench_branches bid
dump pgbench_history 'mtime, tid, bid, aid, delta'

for table in $tables; do cp "$work/main/shop.public.$table.jsonl.gz" "$output/$table.debezium.jsonl.gz"; done
for table in types products; do
    cp "$work/envelope/shop.public.$table.jsonl.gz" "$output/$table.envelope.debezium.jsonl.gz"
done
cp "$work/text/shop.public.types.jsonl.gz" "$output/types.text.debezium.jsonl.gz"
cp "$work/connect/shop.public.types.jsonl.gz" "$output/types.connect.debezium.jsonl.gz"
for name in main envelope text connect; do sed "s/^/$name: /" "$work/$name.out"; done
grep -h "actually processed" "$work/pgbench.out"
"$bin/postgres" --version
du -ch "$output"/*.gz | tail -1
