if command -v curl >/dev/null; then exec curl -fsS --max-time 10 -o /dev/null -- "$HEALTH_CHECK"; fi
exec wget -q -T 10 -O /dev/null -- "$HEALTH_CHECK"
