#!/bin/sh
# Forwards the Docker engine's events to the event store: one event of category service each. Needs docker and wget, as
# the image docker:cli has them. After an outage of the engine or the store it goes on behind the last one that it
# forwarded.
#   EVENT_STORE_URL    default http://127.0.0.1:5101
#   EVENT_STORE_TOKEN  a token with the scope append, where the store wants one
set -eu
store=${EVENT_STORE_URL:-http://127.0.0.1:5101}

# Left out is what is executed inside containers: command lines may hold secrets.
filters=
for event in create start restart stop die kill oom pause unpause rename destroy remove health_status pull delete connect disconnect; do
  filters="$filters --filter event=$event"
done
# A line is the engine's time in nanoseconds and the object, which make the idempotency key, and the event.
format='{{.TimeNano}}-{{.Actor.ID}} {"category":"service","action":{{json (printf "%s_%s" .Type .Action)}},"actor":"docker",'
format=$format'"target":{{if index .Actor.Attributes "name"}}{{json (index .Actor.Attributes "name")}}{{else}}{{json .Actor.ID}}{{end}},'
format=$format'"data":{"id":{{json .Actor.ID}},"attributes":{{json .Actor.Attributes}}}}'

# post KEY EVENT sends one event, again and again for two minutes: the key makes that safe for ten.
post() {
  tries=0
  until wget -q -O /dev/null --header 'Content-Type: application/json' --header "Idempotency-Key: $1" \
    ${EVENT_STORE_TOKEN:+--header "Authorization: Bearer $EVENT_STORE_TOKEN"} --post-data "$2" "$store/events"; do
    tries=$((tries + 1))
    if [ "$tries" -ge 60 ]; then
      echo "given up: $2" >&2
      return
    fi
    sleep 2
  done
}

last=$(mktemp)
date +%s >"$last"
trap 'rm -f "$last"' EXIT
trap 'exit 0' INT TERM
while :; do
  echo "forwarding the engine's events from $(cat "$last") on to $store" >&2
  # shellcheck disable=SC2086 # filters is a list
  docker events --since "$(cat "$last")" $filters --format "$format" | while read -r key event; do
    post "$(printf %.255s "$key")" "$event"
    nanoseconds=${key%%-*}
    echo "${nanoseconds%?????????}.${nanoseconds#??????????}" >"$last"
  done
  sleep 2
done
