# PostgreSQL with an empty database in the folder that it is started in, on $PORT of the loopback. It refuses to run as root,
# and then runs as nobody.
set -eu
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)
folder=$PWD/database
rm -rf "$folder"
mkdir "$folder"
run=
if [ "$(id -u)" = 0 ]; then
  chown nobody "$folder"
  run='setpriv --reuid=nobody --regid=nogroup --clear-groups'
fi
cd "$folder"
$run "$bin/initdb" --pgdata=data --username=postgres --auth=trust --no-sync >/dev/null
$run "$bin/postgres" -D data -c listen_addresses=127.0.0.1 -c port="$PORT" -c unix_socket_directories= -c fsync=off &
trap 'kill -INT $!' INT TERM
wait $! || true
wait $! 2>/dev/null || true
