# diagram.bash - the diagram that `make demo` walks through and tests/e2e/picture.bats checks: two realms, three control
# planes with a gateway each, and the people who may or may not come in.
#
# Sourced by who has api METHOD PATH [BODY], which prints the answer's body.
# shellcheck shell=bash disable=SC2034 # the variables are for who sources this

declare -gA CONTROL_PLANE=(
  [appointments]=a99017e7-0000-4000-8000-00000000000a
  [billing]=b1111111-0000-4000-8000-00000000000b
  [dev]=de000000-0000-4000-8000-00000000000d
)
GATEWAYS=(appointments billing dev)

diagram() {
  cat <<'DIAGRAM'
    realm prod: Cruz, Ira ──┬──▶ Appointments   /appointments   gold:   1000 requests in 60 s
                            └──▶ Billing        /billing        silver:   10 requests in 60 s
    realm dev: Sasha ──────────▶ Dev            /dev
    Dev's own consumer: Izumi ─▶ Dev
DIAGRAM
}

# make_realms: sets PROD and DEV.
make_realms() {
  PROD=$(api POST /v1/realms "{\"name\":\"prod\",\"allowed_control_planes\":[\"${CONTROL_PLANE[appointments]}\",\"${CONTROL_PLANE[billing]}\"]}" | jq -er .id)
  DEV=$(api POST /v1/realms "{\"name\":\"dev\",\"allowed_control_planes\":[\"${CONTROL_PLANE[dev]}\"]}" | jq -er .id)
}

# make_person NAME REALM GROUPS: a consumer with a key; GROUPS is a JSON array. Sets ID[NAME], KEY[NAME] and KEY_ID[NAME].
declare -gA ID KEY KEY_ID
make_person() {
  local key
  ID[$1]=$(api POST "/v1/realms/$2/consumers" "{\"username\":\"$1\",\"consumer_groups\":$3}" | jq -er .id)
  key=$(api POST "/v1/realms/$2/consumers/${ID[$1]}/keys?wait=applied" '{"type":"new"}')
  KEY[$1]=$(jq -er .secret <<<"$key")
  KEY_ID[$1]=$(jq -er .id <<<"$key")
}

# make_people: Cruz and Ira in prod, Sasha in dev, and Izumi, whom only the Dev control plane knows.
make_people() {
  local core=/v2/control-planes/${CONTROL_PLANE[dev]}/core-entities key
  make_person Cruz "$PROD" '["gold","silver"]'
  make_person Ira "$PROD" '["gold"]'
  make_person Sasha "$DEV" '["gold"]'
  ID[Izumi]=$(api POST "$core/consumers" '{"username":"Izumi"}' | jq -er .id)
  key=$(api POST "$core/consumers/Izumi/key-auth?wait=applied" '{}')
  KEY[Izumi]=$(jq -er .key <<<"$key")
  KEY_ID[Izumi]=$(jq -er .id <<<"$key")
}

# gateway_config NAME PORT STORE DIR BUILD: prints the whole configuration of one gateway, with its files in DIR. It names
# realms and groups, and nobody.
gateway_config() {
  local group rate burst identity="realm:us:$PROD" allowed
  case $1 in
    appointments) group=gold rate=1000r/m burst=999 ;;
    billing) group=silver rate=10r/m burst=9 ;;
    dev) identity="realm:us:$DEV cp" ;;
  esac
  allowed=${group:+"
            realm_auth_require_group $group;
            limit_req                zone=$group burst=$burst nodelay;"}
  cat <<CONF
load_module $5/nginx/ngx_http_realm_auth_module.so;
user $(id -un) $(id -gn);
env LD_PRELOAD;
env ASAN_OPTIONS;
pid $4/nginx.pid;
error_log $4/error.log;
events {}
http {
    access_log off;
    client_body_temp_path $4/temp-body;
    proxy_temp_path $4/temp-proxy;
    fastcgi_temp_path $4/temp-fastcgi;
    uwsgi_temp_path $4/temp-uwsgi;
    scgi_temp_path $4/temp-scgi;
    realm_store $3;
    limit_req_status 429;
CONF
  [ -z "${group:-}" ] || cat <<CONF
    map \$realm_consumer_groups \$$group { default ""; "~(^|, )$group(,|\$)" \$realm_consumer_id; }
    limit_req_zone \$$group zone=$group:1m rate=$rate;
CONF
  cat <<CONF
    server {
        listen 127.0.0.1:$2;
        location /$1 {
            realm_auth               on;
            realm_auth_identity      $identity;$allowed
            proxy_pass               http://unix:$4/service.sock;
        }
    }
    server { # in place of a service
        listen unix:$4/service.sock;
        return 200 "$1 says hello to \$http_x_consumer_username\n";
    }
}
CONF
}

# statuses COUNT [CURL_OPTION...] URL: sends the request that often over one connection; prints how many answers had which
# status, as "1000 200" in a line each.
statuses() {
  local count=$1
  shift
  curl -sS -o /dev/null -w '%{http_code}\n' "${@:1:$#-1}" "${!#}?[1-$count]" | sort | uniq -c | sed 's/^ *//'
}
