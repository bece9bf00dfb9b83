#!/bin/sh
# Has nginx read its configuration again within a second of a change to a .conf file in a folder. Beside nginx, in its own
# container: nginx's image runs what is in /docker-entrypoint.d before it starts nginx.
# https://github.com/nginx/docker-nginx/blob/master/entrypoint/docker-entrypoint.sh

folder=${1:-/etc/nginx/conf.d}

watch() {
    seen=$(cat "$folder"/*.conf 2>/dev/null)
    while sleep 1; do
        now=$(cat "$folder"/*.conf 2>/dev/null)
        # Where nginx refuses the files, it goes on with those that it has, and is told again: an upstream whose name
        # cannot be looked up yet makes it refuse them all.
        [ "$now" = "$seen" ] || { nginx -s reload && seen=$now; }
    done
}

watch &
