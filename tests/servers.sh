#!/usr/bin/env bash
# Starts the servers that the tests look for and that do not answer yet: PostgreSQL, MariaDB, Redis and a
# Redis Cluster of six nodes, all on 127.0.0.1 with the usual ports. `tests/servers.sh stop` stops what
# this has started. As root it installs what is missing from Debian's packages.
set -euo pipefail

POSTGRES_PORT=${POSTGRES_PORT:-5432}
MARIADB_PORT=${MARIADB_PORT:-3306}
REDIS_PORT=${REDIS_PORT:-6379}
CLUSTER_PORT=${CLUSTER_PORT:-7001}

data=${TMPDIR:-/tmp}/web-session-servers
nodes=$(seq "$CLUSTER_PORT" $((CLUSTER_PORT + 5)))
PATH=$PATH:/usr/sbin:$(printf '%s:' /usr/lib/postgresql/*/bin)

# Runs a program as another user where this one is root, which the servers do not like to be.
as() {
    local user=$1
    shift
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid="$user" --regid="$user" --init-groups -- "$@"
    else
        "$@"
    fi
}

# The same, detached from this script and its output, so that nobody waits for it.
detached() {
    local log=$1 user=$2 run=()
    shift 2
    if [ "$(id -u)" = 0 ]; then
        run=(setpriv --reuid="$user" --regid="$user" --init-groups --)
    fi
    setsid "${run[@]}" "$@" </dev/null >>"$log" 2>&1 &
}

# Installs a package if a program of it is missing.
need() {
    local program=$1 package=$2 policy=/usr/sbin/policy-rc.d made=
    command -v "$program" >/dev/null && return
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "$program is missing: install $package" >&2
        exit 1
    fi
    DEBIAN_FRONTEND=noninteractive apt-get -qq update >/dev/null
    # The package's own services are not wanted. Where the machine has a policy about that, it stands.
    if [ ! -e "$policy" ]; then
        made=yes
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    DEBIAN_FRONTEND=noninteractive apt-get -qq install "$package" >/dev/null
    if [ -n "$made" ]; then rm -f "$policy"; fi
    PATH=$PATH:$(printf '%s:' /usr/lib/postgresql/*/bin)
}

# Runs a command whose output goes to a log, of which the end is shown if it fails.
logged() {
    local log=$1
    shift
    "$@" >>"$log" 2>&1 && return
    tail -n 20 "$log" >&2
    exit 1
}

# Waits until a command succeeds; else shows the log and gives up.
wait_for() {
    local name=$1 log=$2
    shift 2
    for _ in $(seq 300); do
        if "$@" >/dev/null 2>&1; then
            echo "$name answers"
            return
        fi
        sleep 0.1
    done
    echo "$name does not answer; its log ends with" >&2
    tail -n 20 "$log" >&2
    exit 1
}

folder() {
    mkdir -p "$1"
    if [ "$(id -u)" = 0 ] && [ -n "${2:-}" ]; then chown "$2" "$1"; fi
}

postgres() { psql -qtA -h 127.0.0.1 -p "$POSTGRES_PORT" -U postgres -d "$1" -c "$2"; }

start_postgres() {
    need psql postgresql
    need initdb postgresql
    local at=$data/postgres-$POSTGRES_PORT log=$data/postgres.log
    if ! postgres postgres 'SELECT 1' >/dev/null 2>&1; then
        folder "$at" postgres
        if [ ! -f "$at/PG_VERSION" ]; then
            logged "$log" as postgres initdb -D "$at" -U postgres --auth=trust -E UTF8
        fi
        detached "$log" postgres postgres -D "$at" -h 127.0.0.1 -p "$POSTGRES_PORT" -k ''
    fi
    wait_for "PostgreSQL on port $POSTGRES_PORT" "$log" postgres postgres 'SELECT 1'
    if [ -z "$(postgres postgres "SELECT 1 FROM pg_database WHERE datname = 'test'")" ]; then
        postgres postgres 'CREATE DATABASE test'
    fi
}

mariadb_root() { mariadb -h 127.0.0.1 -P "$MARIADB_PORT" -u root -e "$1"; }

start_mariadb() {
    need mariadbd mariadb-server
    need mariadb mariadb-client
    local at=$data/mariadb-$MARIADB_PORT log=$data/mariadb.log
    if ! mariadb_root 'SELECT 1' >/dev/null 2>&1; then
        folder "$at" mysql
        if [ ! -d "$at/mysql" ]; then
            logged "$log" as mysql mariadb-install-db --no-defaults --datadir="$at" --tmpdir="$at" \
                --auth-root-authentication-method=normal --skip-test-db
        fi
        detached "$log" mysql mariadbd --no-defaults --datadir="$at" --tmpdir="$at" \
            --bind-address=127.0.0.1 --port="$MARIADB_PORT" --socket="$at/socket" \
            --pid-file="$at/pid"
    fi
    wait_for "MariaDB on port $MARIADB_PORT" "$log" mariadb_root 'SELECT 1'
    mariadb_root 'CREATE DATABASE IF NOT EXISTS test'
}

start_redis() {
    need redis-server redis-server
    need redis-cli redis-tools
    local at=$data/redis-$REDIS_PORT
    if [ "$(redis-cli -p "$REDIS_PORT" PING 2>/dev/null)" != PONG ]; then
        folder "$at"
        detached "$at/log" "$(id -un)" redis-server --port "$REDIS_PORT" --bind 127.0.0.1 --dir "$at" --save ''
    fi
    wait_for "Redis on port $REDIS_PORT" "$at/log" redis-cli -p "$REDIS_PORT" PING
}

# Whether a node knows a working cluster of three primaries with a replica each.
is_ok() {
    redis-cli -p "$1" CLUSTER INFO 2>/dev/null | grep -q 'cluster_state:ok' &&
        [ "$(redis-cli -p "$1" CLUSTER NODES | grep -c ' \(myself,\)\?slave ')" = 3 ]
}

# Whether this script has started a node, so that it may be emptied.
is_ours() {
    [ "$(redis-cli -p "$1" CONFIG GET dir 2>/dev/null | tail -n 1)" = "$(readlink -f "$data/cluster-$1")" ]
}

start_cluster() {
    local port log=$data/cluster-$CLUSTER_PORT/log addresses=()
    if ! is_ok "$CLUSTER_PORT"; then
        for port in $nodes; do
            local at=$data/cluster-$port
            folder "$at"
            addresses+=("127.0.0.1:$port")
            [ "$(redis-cli -p "$port" PING 2>/dev/null)" = PONG ] && continue
            detached "$at/log" "$(id -un)" redis-server --port "$port" --bind 127.0.0.1 --dir "$at" --save '' \
                --cluster-enabled yes --cluster-node-timeout 2000
        done
        for port in $nodes; do
            wait_for "node of the Redis Cluster on port $port" "$data/cluster-$port/log" \
                redis-cli -p "$port" PING
        done
        # What a start that was cut short has left cannot be completed, and nodes that were restarted need
        # a moment to find each other.
        for _ in $(seq 50); do is_ok "$CLUSTER_PORT" && break || sleep 0.1; done
        if ! is_ok "$CLUSTER_PORT"; then
            for port in $nodes; do
                if ! is_ours "$port"; then
                    echo "the Redis on port $port is in no working cluster and somebody else's:" \
                        "stop it, or choose six free ports with CLUSTER_PORT" >&2
                    exit 1
                fi
            done
            for port in $nodes; do
                logged "$log" redis-cli -p "$port" FLUSHALL
                logged "$log" redis-cli -p "$port" CLUSTER RESET HARD
            done
            logged "$log" redis-cli --cluster create "${addresses[@]}" --cluster-replicas 1 --cluster-yes
        fi
    fi
    for port in $nodes; do
        wait_for "Redis Cluster, by port $port," "$data/cluster-$port/log" is_ok "$port"
    done
}

case "${1:-start}" in
start)
    # What tests and benches use besides.
    need nginx nginx
    need openssl openssl
    need chromium chromium
    need chromedriver chromium-driver
    need pkill procps
    need valgrind valgrind
    mkdir -p "$data"
    chmod 755 "$data"
    start_postgres
    start_mariadb
    start_redis
    start_cluster
    ;;
stop)
    # Each has its data folder among its arguments or as its working folder.
    for process in /proc/[0-9]*; do
        if [[ "$(readlink "$process/cwd" 2>/dev/null)" == "$data"/* ]] &&
            [[ "$(tr '\0' ' ' <"$process/cmdline" 2>/dev/null)" =~ (postgres|mariadbd|redis-server) ]]; then
            kill "${process#/proc/}" 2>/dev/null || true
        fi
    done
    ;;
*)
    echo "usage: $0 [start|stop]" >&2
    exit 2
    ;;
esac
