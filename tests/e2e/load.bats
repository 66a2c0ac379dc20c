#!/usr/bin/env bats
# No request fails while everything around the gateway moves.
# shellcheck disable=SC2034,SC2154 # the helpers read and set variables

load nginx_common

# Three clients that send Alice's key over connections that they keep, each answer's status in a line of $DIR/client.N. A
# request on a connection that NGINX closed meanwhile is sent again on a new one, as HTTP asks of a client.
start_clients() {
  local i
  CLIENTS=()
  for i in 1 2 3; do
    curl -sS -o /dev/null -w '%{http_code}\n' -H "apikey: $SECRET" "$WEB/a/[1-100000000]" \
      >"$DIR/client.$i" 2>"$DIR/client.$i.err" 3>&- &
    CLIENTS+=("$!")
    PIDS+=("$!")
  done
  until_true more_than 0 0 0
}

# answered: how many answers each client has had; more_than N1 N2 N3: each has had more since.
answered() {
  local i
  for i in 1 2 3; do wc -l <"$DIR/client.$i"; done
}
more_than() {
  local now
  mapfile -t now < <(answered)
  ((now[0] > $1 && now[1] > $2 && now[2] > $3))
}

# still_answered: each client gets answers from now on, too.
still_answered() {
  local before
  mapfile -t before < <(answered)
  until_true more_than "${before[@]}"
}

start_changes() {
  "$BUILD/tests/rest_load" --url "$URL" --token-file "$DIR/admin.token" --realm "$PROD" --changes 100000000 --parallel 1 churn \
    >"$DIR/changes" 2>&1 3>&- &
  CHANGES=$!
  PIDS+=("$CHANGES")
}

version() { ctl edge --json stat | jq -r '.sources[0].version'; }
generation() { ctl edge --json stat | jq -r '.sources[0].generation'; }
grown() { [ "$(version)" -gt "$1" ]; }
# More changes than the control plane keeps have passed the agent by.
left_behind() { [ "$(curl -sS "$URL/metrics" | sed -nE 's/^realm_control_version ([0-9]+).*/\1/p')" -gt $(($1 + KEEP)) ]; }
workers() { pgrep -P "$NGINX_PID" | sort; }
no_worker_of() { ! comm -12 <(workers) "$1" | grep -q .; }

# The clients would try again on a connection that a crash ended.
no_worker_died() { ! grep 'exited on signal' "$DIR/error.log" >&2; }

@test "no request fails through changes, a restart of the agent, a reload of NGINX and a resynchronisation" {
  KEEP=1000
  NGINX_WORKERS=2
  start_control --keep-versions "$KEEP"
  start_agent edge "$CP_A"
  PROD=$(make_realm prod "$CP_A")
  ALICE=$(make_consumer "$PROD" Alice)
  SECRET=$(make_key "$PROD" "$ALICE")
  start_echo
  start_nginx "location /a/ { realm_auth on; realm_auth_identity realm:us:$PROD; proxy_pass http://$UPSTREAM; }"
  start_clients
  start_changes
  until_true grown $(($(version) + 100))

  stop_program "$AGENT_PID"
  run_agent edge
  until_true agent_is edge live
  until_true grown "$(version)"
  still_answered

  workers >"$DIR/workers"
  kill -HUP "$NGINX_PID"
  until_true no_worker_of "$DIR/workers"
  still_answered

  former=$(generation)
  stop_program "$AGENT_PID"
  until_true left_behind "$(version)"
  run_agent edge
  until_true agent_is edge live
  [ "$(generation)" -gt "$former" ]
  still_answered

  kill -0 "$CHANGES"
  kill "${CLIENTS[@]}"
  wait "${CLIENTS[@]}" || true
  no_worker_died
  cat "$DIR"/client.?.err
  [ -z "$(cat "$DIR"/client.?.err)" ]
  [ "$(cat "$DIR"/client.? | sort -u)" = 200 ]
}
