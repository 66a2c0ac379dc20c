#!/usr/bin/env bats
# A real link between host and control plane, in a network namespace: what is lost on it is lost without a word.
# shellcheck disable=SC2034,SC2154 # the helpers and bats read and set variables

load common

setup_link() {
  PATH=$PATH:/usr/sbin
  NAMESPACE=rs-$$-$RANDOM
  LINK=rs$RANDOM
  NETWORK=10.$((RANDOM % 200 + 20)).$((RANDOM % 250)).
  ip netns add "$NAMESPACE" 2>/dev/null || skip 'network namespaces are not permitted here'
  ip link add "$LINK" type veth peer name host netns "$NAMESPACE"
  ip address add "${NETWORK}1/30" dev "$LINK"
  ip link set "$LINK" up
  ip -n "$NAMESPACE" address add "${NETWORK}2/30" dev host
  ip -n "$NAMESPACE" link set host up
}

teardown() {
  [ -z "${NAMESPACE:-}" ] || ip netns delete "$NAMESPACE" 2>/dev/null || true
  [ -z "${LINK:-}" ] || ip link delete "$LINK" 2>/dev/null || true
  stop_all
}

# start_far_agent NAME: as start_agent, at the other end of the link.
start_far_agent() {
  local far
  far=$(sed -nE "s#^listening on (http://${NETWORK}1:[0-9]+)\$#\1#p" "$DIR/control.out")
  write_agent_config "$1" "$CP_A" "$far"
  sed -i 's/^  - region: us/&\n    allow_plain_http: true/' "$DIR/$1.yaml"
  ip netns exec "$NAMESPACE" "$BUILD/bin/realm-agent" --config "$DIR/$1.yaml" 2>>"$DIR/$1.err" 3>&- &
  AGENT_PID=$!
  PIDS+=("$AGENT_PID")
  until_true agent_is "$1" live || { cat "$DIR/$1.err" >&2; return 1; }
}

host_state() { api GET /v1/hosts | jq -r '.data[0].state'; }
host_is() { [ "$(host_state)" = "$1" ]; }

@test "a link that goes down is noticed in silence, the copy serves on, and what was missed comes when it is up" {
  setup_link
  start_control --listen "${NETWORK}1:0"
  start_far_agent edge
  realm=$(make_realm prod "$CP_A")
  alice=$(make_consumer "$realm" Alice)
  before=$(make_key "$realm" "$alice")
  generation=$(ctl edge --json stat | jq '.sources[0].generation')

  ip link set "$LINK" down
  until_true agent_is edge disconnected
  lookup edge "$before" "realm:$realm"
  meanwhile=$(api POST "/v1/realms/$realm/consumers/$alice/keys" '{"type":"new"}' | jq -er .secret)
  run lookup edge "$meanwhile" "realm:$realm"
  [ "$status" = 1 ]

  ip link set "$LINK" up
  until_true lookup edge "$meanwhile" "realm:$realm"
  until_true agent_is edge live
  until_true host_is connected
  [ "$(ctl edge --json stat | jq '.sources[0].generation')" = "$generation" ]
}

@test "a wait for a host behind a dead link names it as late" {
  setup_link
  start_control --listen "${NETWORK}1:0"
  start_far_agent edge
  realm=$(make_realm prod "$CP_A")
  ip link set "$LINK" down
  [ "$(api_status PATCH "/v1/realms/$realm?wait=applied&timeout_ms=300" '{"ttl":11}')" = 202 ]
  [ "$(jq -c .late "$DIR/body")" = '["edge"]' ]
  ip link set "$LINK" up
  until_true current edge
}
