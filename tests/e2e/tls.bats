#!/usr/bin/env bats
# TLS between agent and control plane, with certificates as an operator makes them.
# shellcheck disable=SC2154 # bats sets $status and $output

load common

# make_ca NAME; make_certificate CA NAME SUBJECT [EXTENSION]
make_ca() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$1" \
    -keyout "$DIR/$1.key" -out "$DIR/$1.pem" 2>/dev/null
}

make_certificate() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$3" \
    -keyout "$DIR/$2.key" -out "$DIR/$2.csr" 2>/dev/null
  openssl x509 -req -days 2 -in "$DIR/$2.csr" -CA "$DIR/$1.pem" -CAkey "$DIR/$1.key" -CAcreateserial \
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
