#!/usr/bin/env bash
# Run a command beside AWS's own DynamoDB engine (DynamoDB Local), whose endpoint is in LOCALAWS_DYNAMODB_ENDPOINT.
#
# Needs Java 17, Maven and unshare (util-linux). The engine is Amazon's, under its own licence: it is fetched by Maven into
# build/, never shipped. It listens on all interfaces, so it gets a network namespace of its own with only a loopback.
set -euo pipefail

version=2.5.4
folder="$PWD/build/dynamodb-local-$version"

for each in java mvn unshare; do
    command -v "$each" > /dev/null || { echo "dynamodb_local.sh: $each is missing (Java 17, Maven, util-linux)" >&2; exit 1; }
done
if [ ! -e "$folder/complete" ]; then
    mkdir -p "$folder"
    cat > "$folder/pom.xml" << XML
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion><groupId>crossfade</groupId><artifactId>dynamodb-local</artifactId><version>1</version>
  <dependencies><dependency>
    <groupId>com.amazonaws</groupId><artifactId>DynamoDBLocal</artifactId><version>$version</version>
  </dependency></dependencies>
</project>
XML
    mvn -q -B -Dstyle.color=never -f "$folder/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$folder/lib"
    touch "$folder/complete"
fi

export folder LOCALAWS_DYNAMODB_ENDPOINT=http://127.0.0.1:8000
exec unshare --user --map-root-user --net bash -c '
    set -eu
    ip link set lo up
    java -Xmx512m -Djava.library.path="$folder/lib" -cp "$folder/lib/*" \
        com.amazonaws.services.dynamodbv2.local.main.ServerRunner -inMemory -port 8000 > "$folder/server.log" 2>&1 &
    server=$!
    trap "kill $server" EXIT
    until (: > /dev/tcp/127.0.0.1/8000) 2> /dev/null; do
        kill -0 $server || { cat "$folder/server.log" >&2; exit 1; }
        sleep 0.1
    done
    "$@"
' bash "$@"
