#!/usr/bin/env bats
# What strangers cannot do to a control plane and an agent: real programs, curl, bare sockets.
# shellcheck disable=SC2154 # bats sets $status and $output

load common

# crowd N TEXT: opens N connections to $URL, sends TEXT on each, and keeps them; sets CROWD_PID.
crowd() {
  python3 - "${URL##*:}" "$1" "$2" >"$DIR/crowd.out" 3>&- <<'PY' &
import signal, socket, sys
port, count, text = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].encode().decode("unicode_escape").encode("latin-1")
crowd = []
for _ in range(count):
    crowd.append(socket.create_connection(("127.0.0.1", port)))
    try:
        crowd[-1].sendall(text)
    except OSError:
        pass  # made room for another one
print("there", flush=True)
signal.pause()
PY
  CROWD_PID=$!
  PIDS+=("$CROWD_PID")
  until_true grep -q there "$DIR/crowd.out"
}

code() { curl -sS -m 30 -o /dev/null -w '%{http_code}' "$@"; }

metric_of_control() { curl -sS "$URL/metrics" | sed -nE "s/^realm_control_$1 (.*)$/\1/p"; }

@test "a crowd of unfinished requests as large as max_connections leaves health, operators and hosts alone" {
  start_control --max-connections 500 --max-strangers 100
  start_agent edge "$CP_A"
  realm=$(make_realm prod "$CP_A")
  crowd 500 'GET /healthz HTTP/1.1\r\nHo'
  [ "$(code "$URL/healthz")" = 200 ]
  secret=$(make_key "$realm" "$(make_consumer "$realm" Alice)")
  lookup edge "$secret" "realm:$realm"
  [ "$(metric_of_control connections_displaced_total)" -ge 400 ]
}

@test "slow bodies without credentials hold nothing, and everybody else's bodies are read" {
  start_control
  start_agent edge "$CP_A"
  realm=$(make_realm prod "$CP_A")
  crowd 66 'POST /v1/realms HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n{'
  [ "$(metric_of_control request_body_bytes)" = 0 ]
  secret=$(make_key "$realm" "$(make_consumer "$realm" Alice)")
  lookup edge "$secret" "realm:$realm"
}

make_server_certificate() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=control \
    -addext subjectAltName=IP:127.0.0.1 -keyout "$DIR/server.key" -out "$DIR/server.pem" 2>/dev/null
}

@test "a crowd that never finishes its TLS handshake leaves health alone" {
  make_server_certificate
  start_control --tls-cert "$DIR/server.pem" --tls-key "$DIR/server.key" --max-strangers 50
  for said in '' '\x16\x03\x01'; do
    crowd 300 "$said"
    [ "$(code --cacert "$DIR/server.pem" "$URL/healthz")" = 200 ]
  done
}

# With `Expect: 100-continue`, which curl sends by itself, and without.
@test "curl sees the refusal of a large body, over plain HTTP and TLS" {
  head -c 5242880 /dev/zero >"$DIR/large"
  make_server_certificate
  for options in '' "--tls-cert $DIR/server.pem --tls-key $DIR/server.key"; do
    unset PORT
    # shellcheck disable=SC2086 # several options
    start_control $options
    for expect in 'Expect: 100-continue' 'Expect:'; do
      for _ in 1 2 3 4 5; do
        [ "$(code --cacert "$DIR/server.pem" -H "$expect" -H "Authorization: Bearer $ADMIN_TOKEN" \
          --data-binary "@$DIR/large" "$URL/v1/realms")" = 413 ]
        [ "$(code --cacert "$DIR/server.pem" -H "$expect" --data-binary "@$DIR/large" "$URL/v1/realms")" = 401 ]
      done
    done
    stop_program "$CONTROL_PID"
    rm -rf "$DIR/control"
  done
}

@test "who fails to authenticate too often is told to wait, and valid credentials of the same address are not" {
  start_control --auth-failures-per-minute 20
  for _ in $(seq 40); do
    last=$(code -H 'Authorization: Bearer wrong-wrong-wrong-wrong' "$URL/v1/realms")
    [ "$last" = 401 ] || [ "$last" = 429 ]
  done
  [ "$last" = 429 ]
  curl -sS -D - -o /dev/null "$URL/v1/realms" | grep -qiE '^retry-after: [1-9]'
  [ "$(code -H "Authorization: Bearer $ADMIN_TOKEN" "$URL/v1/realms")" = 200 ]
  [ "$(metric_of_control authentication_limited_total)" -ge 1 ]
}

@test "two agents do not share one port for their status pages" {
  start_control
  write_agent_config edge "$CP_A"
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  sed -i "s/^listen: .*/listen: 127.0.0.1:$port/" "$DIR/edge.yaml"
  run_agent edge
  until_true curl -sSf -o /dev/null "http://127.0.0.1:$port/healthz"
  write_agent_config other "$CP_A"
  sed -i "s/^listen: .*/listen: 127.0.0.1:$port/" "$DIR/other.yaml"
  run "$BUILD/bin/realm-agent" --config "$DIR/other.yaml"
  [ "$status" = 2 ]
  [[ $output == *"127.0.0.1:$port"*"in use"* ]]
}
