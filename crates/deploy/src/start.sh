for tool in hythe "$HOME/.hythe/bin/hythe" /usr/local/bin/hythe; do
  if command -v "$tool" >/dev/null; then exec "$tool" start "$DEPLOY_FILE" --env "$DEPLOY_ENV"; fi
done
if command -v pm2 >/dev/null; then exec pm2 startOrReload "$DEPLOY_FILE" --env "$DEPLOY_ENV"; fi
echo "there is neither hythe (in PATH, ~/.hythe/bin or /usr/local/bin) nor pm2 on this host" >&2
exit 127
