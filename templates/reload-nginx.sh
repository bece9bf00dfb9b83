#!/bin/sh
# Has nginx read its configuration again within a second of a change to a .conf file in a folder. It runs beside nginx,
# in nginx's own container: nginx's image runs what is in /docker-entrypoint.d before it starts nginx.
# https://github.com/nginx/docker-nginx/blob/master/entrypoint/docker-entrypoint.sh

folder=${1:-/etc/nginx/conf.d}

content() {
    cat "$folder"/*.conf 2>/dev/null
}

watch() {
    while sleep 1; do
        now=$(content)
        # Where nginx refuses the files, it goes on with those that it has, and is told again: an upstream whose name
        # cannot be looked up yet makes it refuse them all.
        [ "$now" = "$seen" ] || { nginx -s reload && seen=$now; }
    done
}

seen=$(content) # before nginx starts, and reads the same or a later one
watch &
