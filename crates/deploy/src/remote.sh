# What a host does. A step is one `sh` that reads, from its standard input, the step's values, this text and a call
# of one of its functions. Values stand in single quotes and longer texts in here-documents, so nothing of them is
# ever read as code or seen among the arguments of a process. Answers to us are the lines that begin with `hythe:`.
# Whatever was printed before the first of them was the login shell's.
set -eu
echo hythe:begin

# Of a git hook that calls us, on this machine.
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE

case $path in
  /*) root=$path ;;
  '~') root=$HOME ;;
  '~/'*) root=$HOME/${path#'~/'} ;;
  *) root=$HOME/$path ;;
esac

fail() {
  printf '%s\n' "$1" >&2
  exit 1
}

# A folder that PM2 has set up will do as well: its clone is then the cache.
enter() {
  [ -d "$root/releases" ] || [ -d "$root/source" ] || fail "$root is not set up on this host"
  cd -- "$root"
  cache=source
  [ ! -d source/.git ] || cache=source/.git
}

lay_out() {
  mkdir -p -- "$root/releases" "$root/shared"
}

state() {
  enter
  lay_out
  printf 'hythe:root %s\n' "$root"
  [ ! -L current ] || printf 'hythe:link %s\n' "$(readlink current)"
  [ ! -f .deploys ] || tail -n 200 .deploys | sed 's/^/hythe:log /'
  for folder in releases/*/; do
    folder=${folder%/}
    [ ! -d "$folder" ] || printf 'hythe:folder %s\n' "${folder#releases/}"
  done
}

# Branches go where a clone would have them, so that `origin/main` is one.
fetch() {
  enter
  [ -f "$cache/HEAD" ] || git init --quiet --bare "$cache"
  export GIT_TERMINAL_PROMPT=0
  git --git-dir="$cache" fetch --quiet --prune --force --tags $depth -- "$repo" '+refs/heads/*:refs/remotes/origin/*'
}

resolve() {
  enter
  for name in "refs/remotes/$ref" "refs/remotes/origin/$ref" "refs/tags/$ref" "$ref"; do
    if commit=$(git --git-dir="$cache" rev-parse --quiet --verify "$name^{commit}"); then
      printf 'hythe:commit %s\n' "$commit"
      return
    fi
  done
  fail "the repository has no branch, tag or commit $ref"
}

check_out() {
  enter
  git --git-dir="$cache" worktree prune
  git --git-dir="$cache" worktree add --quiet --force --detach "$root/releases/$release" "$commit" || {
    rm -rf -- "releases/$release"
    fail "commit $commit cannot be checked out"
  }
}

# Reads paths, one a line. What a release brings is the first content of what is shared; an absent name with a point
# in it is probably a file with settings, which nobody can make up.
share() {
  enter
  while IFS= read -r entry; do
    item=${entry%/} common=shared/${entry%/} own=releases/$release/${entry%/}
    mkdir -p -- "$(dirname -- "$common")" "$(dirname -- "$own")"
    if [ ! -e "$common" ] && [ -e "$own" ]; then
      mv -- "$own" "$common"
    elif [ ! -e "$common" ]; then
      case ${entry##*/} in
        *.*) fail "$root/$common is not on this host: put it there, or write \`$item/\` if it is a folder" ;;
        *) mkdir -- "$common" ;;
      esac
    fi
    rm -rf -- "$own"
    ln -s -- "$root/$common" "$own"
  done
}

# Renaming a link over another is one step: there is no moment without `current`.
switch() {
  enter
  [ -L current ] || [ ! -e current ] || fail "$root/current is no symbolic link: move it away first"
  if [ -z "$link" ]; then
    rm -f -- current
  else
    ln -sfn -- "$link" .current.new
    mv -T -- .current.new current
  fi
}

# Reads the names of all releases, one a line.
record() {
  enter
  cat >.deploys.new
  mv -- .deploys.new .deploys
}

# Reads names of releases, one a line. One that cannot be removed is no reason to fail.
prune() {
  enter
  while IFS= read -r release; do
    rm -rf -- "releases/$release" || printf 'cannot remove %s\n' "$root/releases/$release" >&2
  done
  [ ! -f "$cache/HEAD" ] || git --git-dir="$cache" worktree prune
}

# Reads a text and runs it with bash, or sh where there is none, until it succeeds: `tries` times at most.
hook() {
  shell=$(command -v bash || command -v sh)
  folder=$(umask 077 && mktemp -d "${TMPDIR:-/tmp}/hythe-XXXXXXXX")
  trap 'rm -rf -- "$folder"' EXIT
  trap 'exit 129' HUP
  trap 'exit 143' TERM
  cat >"$folder/$name"
  case $place in
    home) where=$HOME ;;
    here) where=. ;;
    *) where=$root/$place ;;
  esac
  [ -d "$where" ] || [ "$place" = current ] || fail "$where is not on this host"
  [ -d "$where" ] || where=$root
  attempt=1
  until (
    cd -- "$where" || exit
    export DEPLOY_PATH="$root" CURRENT="$root/current" SHARED="$root/shared" RELEASE="$where"
    export DEPLOY_ENV="$environment" DEPLOY_FILE="$file" HEALTH_CHECK="$url"
    variables
    exec "$shell" "$folder/$name"
  ) </dev/null; do
    status=$?
    [ "$attempt" -lt "$tries" ] || exit "$status"
    attempt=$((attempt + 1))
    sleep "$interval"
  done
}

# Makes a file of a text, and says where. For a hook that needs a terminal, which would garble its own script.
keep() {
  folder=$(umask 077 && mktemp -d "${TMPDIR:-/tmp}/hythe-XXXXXXXX")
  cat >"$folder/step"
  printf 'hythe:file %s\n' "$folder/step"
}

# For as long as the shell that calls this lives. Speaks in one line.
lock() {
  if [ ! -d "$root" ]; then
    echo "hythe:failed $root is not set up on this host"
  elif ! command -v flock >/dev/null; then
    echo 'hythe:failed there is no flock (Debian package util-linux) on this host'
  elif ! : 2>/dev/null >>"$root/.deploy.lock"; then
    echo "hythe:failed $root/.deploy.lock cannot be written"
  else
    exec 9>>"$root/.deploy.lock"
    if flock -n 9; then
      printf '%s\n' "$holder" >"$root/.deploy.lock"
      echo hythe:locked
    else
      printf 'hythe:failed %s is being deployed to by %s\n' "$root" "$(head -n 1 "$root/.deploy.lock")"
    fi
  fi
}
