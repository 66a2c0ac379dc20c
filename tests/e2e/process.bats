#!/usr/bin/env bats
# The programs as processes: descriptors, signals, files that others may have put somewhere, and what a check finds.
# shellcheck disable=SC2030,SC2031,SC2034,SC2154 # the helpers read and set variables

load common

# make_pair NAME: $DIR/NAME.pem and $DIR/NAME.key.
make_pair() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
    -addext 'subjectAltName=IP:127.0.0.1' -keyout "$DIR/$1.key" -out "$DIR/$1.pem" 2>/dev/null
}

# no_file_is_standard PID: 0 to 2 are no file of its own. Without REALMSTORE_DUMPABLE=1 only root may look.
no_file_is_standard() {
  local fd
  for fd in 0 1 2; do
    [[ $(readlink "/proc/$1/fd/$fd") == /dev/null || $(readlink "/proc/$1/fd/$fd") == "pipe:"* ]] ||
      { ls -l "/proc/$1/fd" >&2; return 1; }
  done
}

@test "a control plane without descriptors 0 to 2 writes no log line over its data" {
  local port
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  REALMSTORE_DUMPABLE=1 "$BUILD/bin/realm-control" --listen "127.0.0.1:$port" --data-dir "$DIR/control" --log-level debug \
    --admin-token-file "$DIR/admin.token" <&- >&- 2>&- 3>&- &
  CONTROL_PID=$!
  PIDS+=("$CONTROL_PID")
  URL=http://127.0.0.1:$port
  until_true curl -sSf -o /dev/null "$URL/healthz" 2>/dev/null
  no_file_is_standard "$CONTROL_PID"
  make_realm prod "$CP_A"
  stop_program "$CONTROL_PID"
  PORT=$port start_control
  api GET /v1/realms | jq -e '.data[0].name == "prod"'
}

@test "an agent without descriptors 0 to 2 writes no log line over its store" {
  start_control
  write_agent_config edge "$CP_A"
  sed -i 's/level: info/level: debug/' "$DIR/edge.yaml"
  REALMSTORE_DUMPABLE=1 "$BUILD/bin/realm-agent" --config "$DIR/edge.yaml" <&- >&- 2>&- 3>&- &
  AGENT_PID=$!
  PIDS+=("$AGENT_PID")
  until_true agent_is edge live
  no_file_is_standard "$AGENT_PID"
  make_realm prod "$CP_A"
  until_true realmctl_says edge 1
  stop_program "$AGENT_PID"
  "$BUILD/bin/realmctl" --store "$DIR/edge" verify
}

realmctl_says() { # NAME REALMS
  [ "$("$BUILD/bin/realmctl" --store "$DIR/$1" --json stat | jq '[.sources[].realms] | add')" = "$2" ]
}

@test "realmctl without standard output says so with its exit code" {
  start_control
  start_agent edge "$CP_A"
  run bash -c '"$1" --store "$2" stat <&- >&- 2>&-' - "$BUILD/bin/realmctl" "$DIR/edge"
  [ "$status" = 2 ]
  run bash -c '"$1" --store "$2" stat <&- 2>&-' - "$BUILD/bin/realmctl" "$DIR/edge"
  [ "$status" = 0 ]
}

@test "signals that are not meant for it end no daemon" {
  start_control
  start_agent edge "$CP_A"
  for signal in HUP USR1 USR2 PIPE; do
    kill "-$signal" "$CONTROL_PID" "$AGENT_PID"
  done
  until_true grep -q reloaded "$DIR/control.err"
  api GET /v1/realms >/dev/null
  agent_is edge live
  stop_program "$AGENT_PID"
  stop_program "$CONTROL_PID"
}

@test "SIGHUP gives the control plane another administrator's token and log level, and a bad file changes nothing" {
  cat >"$DIR/control.yaml" <<YAML
log_level: info
YAML
  start_control --config "$DIR/control.yaml"
  api GET /v1/realms >/dev/null
  echo 'log_level: debug' >"$DIR/control.yaml"
  echo "two words of a token 0123456789" >"$DIR/admin.token"
  kill -HUP "$CONTROL_PID"
  until_true grep -q 'nothing has changed' "$DIR/control.err"
  run grep -c 'two words' "$DIR/control.err"
  [ "$output" = 0 ]
  api GET /v1/realms >/dev/null
  echo fedcba9876543210fedcba9876543210 >"$DIR/admin.token"
  kill -HUP "$CONTROL_PID"
  until_true grep -q 'reloaded' "$DIR/control.err"
  [ "$(api_status GET /v1/realms)" = 401 ]
  ADMIN_TOKEN=fedcba9876543210fedcba9876543210
  api GET /v1/realms >/dev/null
}

@test "a check of the control plane's configuration finds what would fail later" {
  make_pair a
  make_pair b
  openssl pkey -in "$DIR/a.key" -aes128 -passout pass:x -out "$DIR/enc.key"
  check() { run "$BUILD/bin/realm-control" --check-config --admin-token-file "$DIR/admin.token" "$@" </dev/null; }
  check
  [ "$status" = 0 ]
  [ "$output" = 'configuration OK' ]
  check --tls-cert "$DIR/a.pem" --tls-key "$DIR/a.key" --client-ca "$DIR/b.pem"
  [ "$status" = 0 ]
  check --tls-cert "$DIR/a.pem" --tls-key "$DIR/b.key"
  [ "$status" = 1 ]
  [[ $output == *'do not match'* ]]
  check --tls-cert "$DIR/a.pem" --tls-key "$DIR/enc.key"
  [ "$status" = 1 ]
  [[ $output == *'has a passphrase'* ]]
  check --tls-cert "$DIR/a.pem" --tls-key "$DIR/a.key" --client-ca "$DIR/a.key"
  [ "$status" = 1 ]
  [[ $output == *'holds no certificate'* ]]
  printf '0123456789abcdef rest\n' >"$DIR/admin.token"
  check
  [ "$status" = 1 ]
  [[ $output == *'a blank at byte 17'* ]]
  [[ $output != *012345* ]]
  [ ! -e /var/lib/realm-control/control.mdb ]
}

@test "an agent's key with a passphrase is refused by the check, and nobody is asked for it" {
  make_pair a
  start_control
  write_agent_config edge "$CP_A" https://127.0.0.1:1
  openssl pkey -in "$DIR/a.key" -aes128 -passout pass:x -out "$DIR/enc.key"
  sed -i "s#token_file: .*#client_cert_file: $DIR/a.pem\n    client_key_file: $DIR/enc.key#" "$DIR/edge.yaml"
  # A terminal, as an operator has one: whatever asks would wait for an answer there.
  run timeout 60 script -qec "$BUILD/bin/realm-agent --config $DIR/edge.yaml --check-config" /dev/null
  [ "$status" = 1 ]
  [[ $output == *'has a passphrase'* ]]
  [[ $output != *'Enter PEM'* ]]
}

@test "a lock that is a link is refused, and what it leads to stays as it is" {
  start_control
  write_agent_config edge "$CP_A"
  echo precious >"$DIR/victim"
  mkdir "$DIR/edge"
  ln -s "$DIR/victim" "$DIR/edge/lock"
  run "$BUILD/bin/realm-agent" --config "$DIR/edge.yaml"
  [ "$status" = 2 ]
  [[ $output == *'is not a regular file'* ]]
  [ "$(cat "$DIR/victim")" = precious ]
  mkdir "$DIR/control2"
  ln -s "$DIR/victim" "$DIR/control2/lock"
  run "$BUILD/bin/realm-control" --listen 127.0.0.1:0 --data-dir "$DIR/control2" --admin-token-file "$DIR/admin.token"
  [ "$status" = 2 ]
  [ "$(cat "$DIR/victim")" = precious ]
  rm "$DIR/control2/lock"
  mkdir "$DIR/control2/control.mdb"
  ln -s "$DIR/victim" "$DIR/control2/control.mdb/data.mdb"
  run "$BUILD/bin/realm-control" --listen 127.0.0.1:0 --data-dir "$DIR/control2" --admin-token-file "$DIR/admin.token"
  [ "$status" = 2 ]
  [ "$(cat "$DIR/victim")" = precious ]
}

@test "root refuses directories of somebody else, and says what mends them" {
  [ "$(id -u)" = 0 ] || skip 'needs root'
  start_control
  write_agent_config edge "$CP_A"
  mkdir "$DIR/edge" "$DIR/control2"
  chown nobody "$DIR/edge" "$DIR/control2"
  run "$BUILD/bin/realm-agent" --config "$DIR/edge.yaml"
  [ "$status" = 2 ]
  [[ $output == *"chown root $DIR/edge"* ]]
  run "$BUILD/bin/realm-control" --listen 127.0.0.1:0 --data-dir "$DIR/control2" --admin-token-file "$DIR/admin.token"
  [ "$status" = 2 ]
  [[ $output == *"chown root $DIR/control2"* ]]
}

@test "an agent runs on a volume that it may write and does not own" {
  [ "$(id -u)" = 0 ] || skip 'needs root to become another user'
  start_control
  write_agent_config edge "$CP_A"
  chown nobody "$DIR/edge.token"
  mkdir "$DIR/edge"
  chown root:nogroup "$DIR/edge"
  chmod 2770 "$DIR/edge"
  setpriv --reuid=nobody --regid=nogroup --clear-groups "$BUILD/bin/realm-agent" --config "$DIR/edge.yaml" \
    2>>"$DIR/edge.err" 3>&- &
  AGENT_PID=$!
  PIDS+=("$AGENT_PID")
  until_true agent_is edge live
  grep -q 'belongs to user 0, not to us' "$DIR/edge.err"
  stop_program "$AGENT_PID"
}

@test "what Kubernetes says of a service with the agent's name is no setting" {
  start_control
  write_agent_config edge "$CP_A"
  REALM_AGENT_PORT=tcp://10.0.0.11:9464 REALM_AGENT_SERVICE_HOST=10.0.0.11 REALM_AGENT_SERVICE_PORT=9464 \
    REALM_AGENT_PORT_9464_TCP_ADDR=10.0.0.11 run "$BUILD/bin/realm-agent" --config "$DIR/edge.yaml" --check-config
  [ "$status" = 0 ]
  REALM_AGENT_PROT=tcp://10.0.0.11:9464 run "$BUILD/bin/realm-agent" --config "$DIR/edge.yaml" --check-config
  [ "$status" = 1 ]
  [[ $output == *REALM_AGENT_PROT* ]]
}

@test "a pipe, a socket or a device in place of a file of the configuration is refused, and nobody waits for it" {
  start_control
  write_agent_config edge "$CP_A"
  mkfifo -m 600 "$DIR/pipe"
  perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 1) or die' "$DIR/socket"
  for file in "$DIR/pipe" "$DIR/socket" /dev/zero; do
    sed "s#^\( *token_file:\).*#\1 $file#" "$DIR/edge.yaml" >"$DIR/odd.yaml"
    for config in "$DIR/odd.yaml" "$file"; do
      run timeout 60 "$BUILD/bin/realm-agent" --config "$config" --check-config
      [ "$status" = 1 ]
      [[ $output == *"$file is a pipe, a socket or a device: name a regular file"* ]]
    done
    run timeout 60 "$BUILD/bin/realm-control" --listen 127.0.0.1:0 --data-dir "$DIR/other" --admin-token-file "$file"
    [ "$status" = 1 ]
    [[ $output == *"$file is a pipe, a socket or a device: name a regular file"* ]]
  done
}
