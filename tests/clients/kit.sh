# Sourced by each suite's run.sh: the program under test and the folder that keeps what is installed.
#
#   WEIR_BIN      the program under test; if unset, `cargo build --release --locked` builds it
#   WEIR_CACHE    folder that keeps the clients from one run to the next; if unset, a temporary one
#   WEIR_RESULTS  folder that takes a file of JSON lines from each suite, for matrix.py; if unset, none
#
# Exit status 75: the clients could not be had, so nothing was tried.
clients=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$clients/../.." && pwd)

case " $* " in
*" --broker kafka "* | *" --bootstrap "*) : "${WEIR_BIN:=none}" ;;
esac
if [ -z "${WEIR_BIN:-}" ]; then
    (cd "$root" && cargo build --release --locked --quiet --bin weir)
fi
if [ -z "${WEIR_CACHE:-}" ]; then
    WEIR_CACHE=$(mktemp -d)
    trap 'rm -rf "$WEIR_CACHE"' EXIT
fi
mkdir -p "$WEIR_CACHE"
WEIR_CACHE=$(cd "$WEIR_CACHE" && pwd)
export WEIR_CACHE PYTHONPATH=$clients PYTHONDONTWRITEBYTECODE=1

# cannot_have <what> [why]: ends the suite before it has tried anything.
cannot_have() {
    echo "NOT TRIED: cannot have $1${2:+: $2}" >&2
    exit 75
}

# install_package <Debian package>: where that can be done; who needs it looks whether it is there.
install_package() {
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$1") >/dev/null 2>&1 || true
    fi
}

# need <command> <Debian package>: installs the package where the command is missing.
need() {
    command -v "$1" >/dev/null && return
    install_package "$2"
    command -v "$1" >/dev/null || cannot_have "$1" "install the package $2"
}

# class_path <pom.xml> [-Dname=value...]: the file with the class path that Maven resolves, made once.
class_path() {
    local pom=$1 name
    shift
    need javac default-jdk-headless
    need mvn maven
    name=$WEIR_CACHE/class-path-$({ cat "$pom"; printf '%s\n' "$@"; } | sha256sum | cut -c1-12)
    if [ ! -e "$name" ]; then
        mvn -B -q -Dstyle.color=never -f "$pom" "$@" -Dmaven.repo.local="$WEIR_CACHE/m2" -Dmdep.outputFile="$name.new" \
            dependency:build-classpath >&2 || cannot_have "what $pom names"
        mv "$name.new" "$name"
    fi
    echo "$name"
}

# compiled <folder> <source.java> <pom.xml> [-Dname=value...]: the class path of a Java program, which is compiled into
# that folder of the cache, against what the pom names.
compiled() {
    local classes=$WEIR_CACHE/$1 source=$2 path
    shift 2
    path=$(class_path "$@") || exit
    mkdir -p "$classes"
    javac -nowarn -cp "$(cat "$path")" -d "$classes" "$source" >&2 || exit
    echo "$(cat "$path"):$classes"
}

# Apache Kafka itself, whose jars `--broker kafka` needs.
case " $* " in
*" --broker kafka "*) KAFKA_CLASS_PATH=$(class_path "$clients/tools/pom.xml") && export KAFKA_CLASS_PATH ;;
esac

# client_python: the Python of a venv with the packages of requirements.txt, one for each state of that list.
client_python() {
    local venv
    venv=$WEIR_CACHE/clients-$(sha256sum "$clients/requirements.txt" | cut -c1-12)
    if [ ! -e "$venv/complete" ]; then
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$clients/requirements.txt" >&2 ||
            cannot_have "the Python clients"
        touch "$venv/complete"
    fi
    echo "$venv/bin/python"
}
