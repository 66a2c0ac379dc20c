#!/usr/bin/env bats
# Many consumers over REST arrive complete, on a host that followed and on one that came late.
# shellcheck disable=SC2154 # bats sets $status and $output

load common

@test "100,000 consumers created over REST arrive complete" {
  consumers=100000
  [ -z "${REALMSTORE_SANITIZED:-}" ] || consumers=5000
  start_control
  start_agent follower "$CP_A"
  realm=$(make_realm prod "$CP_A")
  "$BUILD/tests/rest_load" --url "$URL" --token-file "$DIR/admin.token" --realm "$realm" \
    --consumers "$consumers" --parallel 32 fill
  start_agent late "$CP_A"
  until_true current follower
  until_true current late
  for host in follower late; do
    ctl "$host" verify
    [ "$(ctl "$host" --json stat | jq -c '.sources[0] | [.consumers, .keys]')" = "[$consumers,$consumers]" ]
  done
  ctl follower dump >"$DIR/follower.dump"
  ctl late dump >"$DIR/late.dump"
  cmp "$DIR/follower.dump" "$DIR/late.dump"
  # The names that were given are the names that arrived.
  ctl late dump --format ndjson | jq -r 'select(.kind == "consumer").username' | sort -u >"$DIR/names"
  [ "$(wc -l <"$DIR/names")" = "$consumers" ]
}
