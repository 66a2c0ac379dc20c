#!/usr/bin/env bats
# TLS between agent and control plane, with certificates as an operator makes them.
# shellcheck disable=SC2154 # bats sets $status and $output

load common

# make_ca NAME; make_certificate CA NAME SUBJECT [EXTENSION [DAYS]]
make_ca() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$1" \
    -keyout "$DIR/$1.key" -out "$DIR/$1.pem" 2>/dev/null
}

make_certificate() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$3" \
    -keyout "$DIR/$2.key" -out "$DIR/$2.csr" 2>/dev/null
  openssl x509 -req -days "${5:-2}" -in "$DIR/$2.csr" -CA "$DIR/$1.pem" -CAkey "$DIR/$1.key" -CAcreateserial \
    -extfile <(printf '%s\n' "${4:-basicConstraints=CA:FALSE}") -out "$DIR/$2.pem" 2>/dev/null
}

start_tls_control() {
  make_ca ca
  make_ca clients
  make_certificate ca server /CN=control.example 'subjectAltName=IP:127.0.0.1'
  export CURL_CA_BUNDLE="$DIR/ca.pem"
  start_control --tls-cert "$DIR/server.pem" --tls-key "$DIR/server.key" --client-ca "$DIR/clients.pem"
  [[ $URL == https://* ]]
}

# use_client_certificate NAME: instead of the token.
use_client_certificate() {
  sed -i "s|token_file: .*|client_cert_file: $DIR/$1.pem\n    client_key_file: $DIR/$1.key\n    ca_file: $DIR/ca.pem|" \
    "$DIR/edge.yaml"
}

@test "an agent with a token and the right CA follows over TLS" {
  start_tls_control
  write_agent_config edge "$CP_A"
  sed -i "s|token_file: .*|&\n    ca_file: $DIR/ca.pem|" "$DIR/edge.yaml"
  run_agent edge
  until_true agent_is edge live
  realm=$(make_realm prod "$CP_A")
  secret=$(make_key "$realm" "$(make_consumer "$realm" Alice)")
  lookup edge "$secret" "realm:$realm"
}

@test "a client certificate stands for the control plane it names" {
  start_tls_control
  make_certificate clients host "/CN=$CP_A"
  write_agent_config edge "$CP_A"
  use_client_certificate host
  run_agent edge
  until_true agent_is edge live
}

@test "a key that gets a passphrase under a running agent is told in its log, and nobody is asked for it" {
  start_tls_control
  make_certificate clients host "/CN=$CP_A" 'extendedKeyUsage=clientAuth'
  write_agent_config edge "$CP_A"
  use_client_certificate host
  # On a terminal of its own, where whatever asks would wait for an answer.
  script -qefc "exec $BUILD/bin/realm-agent --config $DIR/edge.yaml" "$DIR/edge.out" >/dev/null 2>&1 </dev/null 3>&- &
  PIDS+=("$!")
  until_true agent_is edge live
  PIDS+=("$(cat "$DIR/edge/lock")") # which does not end with its terminal
  openssl pkey -in "$DIR/host.key" -aes128 -passout pass:x -out "$DIR/enc.key"
  mv "$DIR/enc.key" "$DIR/host.key"
  stop_program "$CONTROL_PID"
  start_control --tls-cert "$DIR/server.pem" --tls-key "$DIR/server.key" --client-ca "$DIR/clients.pem"
  until_true grep -q 'private key' "$DIR/edge.out"
  until_true agent_is edge disconnected
  run grep -c 'pass phrase' "$DIR/edge.out"
  [ "$output" = 0 ]
}

@test "a certificate of another control plane, or of another CA, is refused" {
  start_tls_control
  make_certificate clients other "/CN=$CP_B"
  make_ca strangers
  make_certificate strangers stranger "/CN=$CP_A"
  write_agent_config edge "$CP_A"
  run curl -sS -o /dev/null -w '%{http_code}' --cert "$DIR/other.pem" --key "$DIR/other.key" \
    "$URL/v1/sync/feed?control_plane_id=$CP_A&host=x"
  [ "$output" = 403 ]
  run curl -sS -o /dev/null -w '%{http_code}' --cert "$DIR/stranger.pem" --key "$DIR/stranger.key" \
    "$URL/v1/sync/feed?control_plane_id=$CP_A&host=x"
  [ "$output" = 401 ] || [ "$status" != 0 ]
}

@test "an agent does not talk to a server of another CA" {
  start_tls_control
  make_ca strangers
  write_agent_config edge "$CP_A"
  sed -i "s|token_file: .*|&\n    ca_file: $DIR/strangers.pem|" "$DIR/edge.yaml"
  run_agent edge
  until_true grep -qi certificate "$DIR/edge.err"
  agent_is edge empty || agent_is edge disconnected
}

# serve_certificate NAME: a second server on the same data, with another certificate; the first is stopped.
serve_certificate() {
  stop_program "$CONTROL_PID"
  start_control --tls-cert "$DIR/$1.pem" --tls-key "$DIR/$1.key" --client-ca "$DIR/clients.pem"
}

# An agent that has a copy, before the server's certificate becomes a wrong one.
start_tls_agent() { # URL
  write_agent_config edge "$CP_A" "$1"
  sed -i "s|token_file: .*|&\n    ca_file: $DIR/ca.pem|" "$DIR/edge.yaml"
  run_agent edge
  until_true agent_is edge live
  realm=$(make_realm prod "$CP_A")
  secret=$(make_key "$realm" "$(make_consumer "$realm" Alice)")
}

@test "a certificate for another name, an expired one and one of another CA are refused; the copy serves on" {
  start_tls_control
  start_tls_agent "$URL"
  make_certificate ca other-name /CN=control.example 'subjectAltName=DNS:control.example'
  make_certificate ca expired /CN=control.example 'subjectAltName=IP:127.0.0.1' 0
  make_ca strangers
  make_certificate strangers stranger /CN=control.example 'subjectAltName=IP:127.0.0.1'
  for certificate in other-name expired stranger; do
    stop_program "$AGENT_PID"
    serve_certificate "$certificate"
    : >"$DIR/edge.err"
    run_agent edge
    until_true grep -qiE 'warning.*(certificate|subject name)' "$DIR/edge.err"
    agent_is edge disconnected
    lookup edge "$secret" "realm:$realm"
    run curl -sS --cacert "$DIR/ca.pem" "$URL/healthz"
    [ "$status" = 60 ] # so it was the certificate
  done
  stop_program "$AGENT_PID"
  serve_certificate server
  run_agent edge
  until_true agent_is edge live
}

@test "over TLS, bytes that are changed, doubled or moved on the way end the connection, wherever they are" {
  start_tls_control
  start_proxy
  start_tls_agent "${PROXY_URL/http:/https:}"
  generation=$(ctl edge --json stat | jq '.sources[0].generation')
  for damage in 'corrupt 40 0' 'corrupt 900 0' 'duplicate 1500 100' 'reorder 1600 40' 'corrupt 2100 0'; do
    stop_program "$AGENT_PID"
    : >"$DIR/edge.err"
    fault "$damage"
    run_agent edge
    until_true grep -q 'warning' "$DIR/edge.err"
    lookup edge "$secret" "realm:$realm"
    fault none
    later=$(api POST "/v1/realms/$realm/consumers" "{\"username\":\"user-$RANDOM\"}" | jq -er .id)
    until_true ctl edge get "$later"
  done
  [ "$(ctl edge --json stat | jq '.sources[0].generation')" = "$generation" ]
  ctl edge verify
}

# A server that accepts what it is told to; its certificate is good for everything but strength.
serve_with() { # PORT CERTIFICATE OPTION...
  openssl s_server -www -accept "$1" -cert "$DIR/$2.pem" -key "$DIR/$2.key" "${@:3}" >"$DIR/weak.out" 2>&1 3>&- &
  WEAK_PID=$!
  PIDS+=("$WEAK_PID")
  until_true grep -q ACCEPT "$DIR/weak.out"
}

@test "an agent talks neither TLS 1.1 nor CBC, nor to a server whose certificate is weak, whatever the host's OpenSSL allows" {
  printf 'openssl_conf=c\n[c]\nssl_conf=s\n[s]\nsystem_default=d\n[d]\nMinProtocol=TLSv1\nCipherString=DEFAULT:@SECLEVEL=0\n' \
    >"$DIR/lax.cnf"
  make_ca ca
  make_certificate ca strong /CN=control 'subjectAltName=IP:127.0.0.1'
  openssl req -newkey rsa:1024 -nodes -subj /CN=control -keyout "$DIR/small.key" -out "$DIR/small.csr" 2>/dev/null
  openssl x509 -req -days 2 -in "$DIR/small.csr" -CA "$DIR/ca.pem" -CAkey "$DIR/ca.key" -CAcreateserial \
    -extfile <(echo 'subjectAltName=IP:127.0.0.1') -out "$DIR/small.pem" 2>/dev/null
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  start_control # for the token alone
  write_agent_config edge "$CP_A" "https://127.0.0.1:$port"
  sed -i "s|token_file: .*|&\n    ca_file: $DIR/ca.pem|" "$DIR/edge.yaml"
  for options in 'strong -tls1_1' 'strong -tls1_2 -cipher ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0' 'small -cipher ALL:@SECLEVEL=0'; do
    # shellcheck disable=SC2086 # several options
    OPENSSL_CONF=$DIR/lax.cnf serve_with "$port" $options
    : >"$DIR/edge.err"
    OPENSSL_CONF=$DIR/lax.cnf run_agent edge
    until_true grep -qiE 'warning.*(ssl|tls|certificate)' "$DIR/edge.err"
    stop_program "$AGENT_PID"
    kill "$WEAK_PID"
    wait "$WEAK_PID" || true
  done
}

# open_feed_as NAME: in the background; its lines are in $DIR/feed.
open_feed_as() {
  curl -sSN -o "$DIR/feed" --cert "$DIR/$1.pem" --key "$DIR/$1.key" \
    "$URL/v1/sync/feed?control_plane_id=$CP_A&host=edge&instance=$CP_B&epoch=$epoch&version=0" 3>&- &
  PIDS+=("$!")
}

# acknowledge_as NAME FEED: with the certificate NAME; prints the status.
acknowledge_as() {
  curl -sS -o "$DIR/body" -w '%{http_code}' --cert "$DIR/$1.pem" --key "$DIR/$1.key" -H 'Content-Type: application/json' "$URL/v1/sync/ack" \
    --data "{\"control_plane_id\":\"$CP_A\",\"host\":\"edge\",\"instance\":\"$CP_B\",\"feed\":\"$2\",\"epoch\":\"$epoch\",\"version\":0}"
}

@test "a feed is acknowledged with the certificate that opened it or with its renewal, not with another host's" {
  start_tls_control
  make_certificate clients edge "/CN=$CP_A" 'subjectAltName=DNS:edge-7.example'
  make_certificate clients renewed "/CN=$CP_A" 'subjectAltName=DNS:edge-7.example'
  make_certificate clients other "/CN=$CP_A" 'subjectAltName=DNS:edge-8.example'
  make_certificate clients unit "/OU=edge-7/CN=$CP_A" 'subjectAltName=DNS:edge-7.example'
  make_certificate clients bare "/CN=$CP_A"
  epoch=$(api GET /v1/epoch | jq -r .epoch)
  open_feed_as edge
  until_true grep -q '"type":"heartbeat"' "$DIR/feed"
  feed=$(head -1 "$DIR/feed" | jq -r .feed)
  [ "$(acknowledge_as edge "$feed")" = 204 ]
  [ "$(acknowledge_as renewed "$feed")" = 204 ]
  for name in other unit bare; do
    [ "$(acknowledge_as "$name" "$feed")" = 409 ]
  done
}
