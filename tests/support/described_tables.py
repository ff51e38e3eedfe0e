"""Tables as AWS describes them: one with all that a table can have, and one with nothing."""

from __future__ import annotations

from typing import Any

from crossfade.core.plan.described import QUESTIONS

ARN = "arn:aws:dynamodb:us-east-1:111122223333:table/orders"
STREAM = f"{ARN}/stream/2026-11-28T00:00:00.000"
KINESIS = "arn:aws:kinesis:us-east-1:111122223333:stream/orders-changes"


def bare() -> dict[str, Any]:
    """Answers about a table that has a key, and is on demand."""
    told: dict[str, Any] = {each.name: None for each in QUESTIONS}
    return told | {
        "table": {
            "TableName": "orders",
            "TableArn": ARN,
            "TableStatus": "ACTIVE",
            "AttributeDefinitions": [
                {"AttributeName": "customer", "AttributeType": "S"},
                {"AttributeName": "number", "AttributeType": "N"},
            ],
            "KeySchema": [
                {"AttributeName": "customer", "KeyType": "HASH"},
                {"AttributeName": "number", "KeyType": "RANGE"},
            ],
            "BillingModeSummary": {"BillingMode": "PAY_PER_REQUEST"},
            "ItemCount": 10,
            "TableSizeBytes": 4000,
        },
        "ttl": {"TimeToLiveStatus": "DISABLED"},
        "recovery": {"PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": "DISABLED"}},
        "insights": "DISABLED",
        "limits": 40_000,
    }


def rich() -> dict[str, Any]:
    """Answers about a table that has everything, and to which everybody is attached."""
    told = bare()
    table = told["table"]
    table["AttributeDefinitions"] += [
        {"AttributeName": "status", "AttributeType": "S"},
        {"AttributeName": "due", "AttributeType": "N"},
    ]
    by_status = [{"AttributeName": "status", "KeyType": "HASH"}, {"AttributeName": "due", "KeyType": "RANGE"}]
    by_due = [{"AttributeName": "customer", "KeyType": "HASH"}, {"AttributeName": "due", "KeyType": "RANGE"}]
    table |= {
        "BillingModeSummary": {"BillingMode": "PROVISIONED"},
        "ProvisionedThroughput": {"ReadCapacityUnits": 50, "WriteCapacityUnits": 20},
        "OnDemandThroughput": {"MaxReadRequestUnits": 900, "MaxWriteRequestUnits": 300},
        "WarmThroughput": {"ReadUnitsPerSecond": 50_000, "WriteUnitsPerSecond": 9_000, "Status": "ACTIVE"},
        "GlobalSecondaryIndexes": [
            {
                "IndexName": "by-status",
                "KeySchema": by_status,
                "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["total"]},
                "WarmThroughput": {"ReadUnitsPerSecond": 13_000, "WriteUnitsPerSecond": 4_000},
            }
        ],
        "LocalSecondaryIndexes": [
            {"IndexName": "by-due", "KeySchema": by_due, "Projection": {"ProjectionType": "ALL"}}
        ],
        "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        "LatestStreamArn": STREAM,
        "SSEDescription": {"Status": "ENABLED", "SSEType": "KMS", "KMSMasterKeyArn": "arn:aws:kms:x:1:key/2"},
        "TableClassSummary": {"TableClass": "STANDARD_INFREQUENT_ACCESS"},
        "DeletionProtectionEnabled": True,
    }
    return told | {
        "ttl": {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires"},
        "recovery": {
            "PointInTimeRecoveryDescription": {"PointInTimeRecoveryStatus": "ENABLED", "RecoveryPeriodInDays": 7}
        },
        "insights": "ENABLED",
        "tags": [{"Key": "team", "Value": "shop"}, {"Key": "aws:cloudformation:stack-name", "Value": "x"}],
        "policy": '{"Statement":[{"Sid":"Reports","Effect":"Allow"},{"Sid":"CrossfadeGuard","Effect":"Deny"}]}',
        "scalable": [
            {
                "ResourceId": "table/orders",
                "ScalableDimension": "dynamodb:table:ReadCapacityUnits",
                "MinCapacity": 5,
                "MaxCapacity": 500,
            }
        ],
        "destinations": [{"StreamArn": KINESIS, "DestinationStatus": "ACTIVE"}],
        "triggers": [{"FunctionArn": "arn:aws:lambda:us-east-1:1:function:mailer", "UUID": "1"}],
        "stream_triggers": [{"FunctionArn": "arn:aws:lambda:us-east-1:1:function:search", "UUID": "2"}],
        "stream_consumers": [{"ConsumerName": "lake"}],
        "pipes": [{"Name": "to-bus"}],
        "redshift": [{"IntegrationName": "ours", "SourceArn": ARN}, {"IntegrationName": "theirs", "SourceArn": "x"}],
        "glue": [{"IntegrationName": "lakehouse", "SourceArn": ARN}],
        "pipelines": [{"PipelineName": "index"}],
        "recovery_points": [{"BackupVaultName": "vault"}, {"BackupVaultName": "vault"}],
        "backups": [{"BackupName": "before-black-friday"}],
        "clusters": [{"ClusterName": "cache"}],
        "written": [{"Sum": 900.0}, {"Sum": 180_000.0}],
    }
