# One statement for each thing that a service does with one kind of resource. tests/deploy compares them, both ways, with
# the calls that the embedded AWS saw in the demo. PartiQL has actions of its own: BatchExecuteStatement needs none.

locals {
  read_stream = ["kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards"]
  transfer    = concat(["dynamodb:PartiQLInsert", "dynamodb:PartiQLUpdate"], var.open_mapping ? ["dynamodb:PutItem", "dynamodb:UpdateItem"] : [])

  replicators = {
    forward = { origin = "source", destination = "target" }
    reverse = { origin = "target", destination = "source" }
  }

  shard_leases = {
    sid       = "ShardLeases"
    actions   = ["dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem"]
    resources = [local.table.leases]
  }
  say_reports = {
    sid       = "Reports"
    actions   = ["dynamodb:PutItem"]
    resources = [local.table.reports]
  }

  phase = {
    sid       = "Phase"
    actions   = ["dynamodb:Query"]
    resources = [local.table.journal]
  }

  # A worker in the cluster shares its shards by leases; Lambda keeps the positions itself, and adds up its reports.
  # One that starts recalls what its predecessor reported.
  in_cluster = [local.shard_leases, merge(local.say_reports, { actions = ["dynamodb:GetItem", "dynamodb:PutItem"] })]

  api = [
    {
      sid       = "NewTable"
      actions   = ["dynamodb:BatchGetItem", "dynamodb:DescribeTable", "dynamodb:GetItem", "dynamodb:PartiQLInsert", "dynamodb:PartiQLUpdate", "dynamodb:PutItem", "dynamodb:UpdateItem"]
      resources = [local.table.target]
    },
    {
      sid       = "SourceTable"
      actions   = concat(["dynamodb:BatchGetItem", "dynamodb:DescribeTable", "dynamodb:GetItem"], var.source_writes_revoked ? [] : ["dynamodb:PartiQLInsert", "dynamodb:PartiQLUpdate", "dynamodb:PutItem", "dynamodb:UpdateItem"])
      resources = [local.table.source]
    },
    {
      sid       = "Heartbeats"
      actions   = ["dynamodb:DeleteItem", "dynamodb:PutItem"]
      resources = [local.table.heartbeats]
    },
    local.say_reports,
  ]

  replicator = { for role, side in local.replicators : role => [
    {
      sid       = "ReadChanges"
      actions   = local.read_stream
      resources = [local.stream[side.origin]]
    },
    {
      sid       = "Transfer"
      actions   = concat(["dynamodb:BatchGetItem", "dynamodb:DescribeTable", "dynamodb:GetItem"], local.transfer)
      resources = [local.table[side.destination]]
    },
    {
      sid       = "LiftOrRestore" # design.md, section 3, rules 3 and 5
      actions   = ["dynamodb:PutItem", "dynamodb:UpdateItem"]
      resources = [local.table[side.origin]]
    },
    local.phase,
    {
      sid       = "DeadLetters"
      actions   = ["dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"]
      resources = [local.table.dead_letters]
    },
  ] }

  feed = [
    {
      sid       = "ReadChanges"
      actions   = local.read_stream
      resources = [local.stream.source, local.stream.target]
    },
    {
      sid       = "Publish"
      actions   = ["kinesis:ListShards", "kinesis:PutRecords"]
      resources = [local.stream.feed]
    },
    {
      sid       = "Park"
      actions   = ["dynamodb:PutItem"]
      resources = [local.table.dead_letters]
    },
  ]

  verifier = [
    {
      sid       = "ReadChanges"
      actions   = local.read_stream
      resources = [local.stream.source, local.stream.target]
    },
    {
      sid       = "LookAtCaptureAndSize"
      actions   = ["dynamodb:DescribeKinesisStreamingDestination", "dynamodb:DescribeTable"]
      resources = [local.table.source, local.table.target]
    },
    {
      sid       = "CompareAndRepair"
      actions   = concat(["dynamodb:BatchGetItem", "dynamodb:PartiQLInsert", "dynamodb:PartiQLUpdate", "dynamodb:Scan", "dynamodb:UpdateItem"], var.open_mapping ? ["dynamodb:GetItem", "dynamodb:PutItem"] : [])
      resources = [local.table.source, local.table.target]
    },
    {
      sid       = "JournalRepairs"
      actions   = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"]
      resources = [local.table.journal]
    },
    {
      sid       = "PassesRepairs" # its own partitions, beside the stream consumers' reports
      actions   = ["dynamodb:ConditionCheckItem", "dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem"]
      resources = [local.table.reports]
      condition = { "ForAllValues:StringLike" = { "dynamodb:LeadingKeys" = ["pass-*", "passes", "repair-*", "repairs"] } }
    },
    {
      sid       = "HandKeysOver" # those that a flip may have missed, to the consumer that settles them
      actions   = ["dynamodb:PutItem"]
      resources = [local.table.dead_letters]
    },
    local.first_hop,
  ]

  spill = [for prefix in [var.spill_prefix] : [
    {
      sid       = "SpilledRows"
      actions   = ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
      resources = ["${local.bucket}/${prefix}/${var.migration}/*"]
    },
    {
      sid       = "SpilledRowsList"
      actions   = ["s3:ListBucket"]
      resources = [local.bucket]
      condition = { StringLike = { "s3:prefix" = ["${prefix}/${var.migration}/*"] } }
    },
  ] if prefix != null]

  first_hop = {
    sid       = "FirstHop" # CloudWatch's reads know no resources
    actions   = ["cloudwatch:GetMetricStatistics", "cloudwatch:ListMetrics"]
    resources = ["*"]
  }

  controller = concat(
    [
      {
        sid       = "HandOver"
        actions   = ["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PartiQLInsert", "dynamodb:PartiQLUpdate", "dynamodb:PutItem", "dynamodb:Scan", "dynamodb:UpdateItem"]
        resources = [local.table.source, local.table.target]
      },
      {
        sid       = "LookAtTables"
        actions   = ["dynamodb:DescribeContinuousBackups", "dynamodb:DescribeKinesisStreamingDestination", "dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive"]
        resources = [local.table.source, local.table.target]
      },
      {
        sid       = "Capture"
        actions   = ["dynamodb:EnableKinesisStreamingDestination", "dynamodb:UpdateKinesisStreamingDestination"]
        resources = [local.table.source, local.table.target]
      },
      {
        sid       = "CaptureNeeds" # AWS: Using IAM policies for Kinesis Data Streams and DynamoDB
        actions   = ["kinesis:DescribeStream", "kinesis:PutRecords"]
        resources = [local.stream.source, local.stream.target]
      },
      {
        sid       = "CaptureNeedsList" # ListStreams knows no resources
        actions   = ["kinesis:ListStreams"]
        resources = ["*"]
      },
      {
        sid       = "CaptureNeedsRole"
        actions   = ["iam:CreateServiceLinkedRole"]
        resources = [local.capture_role]
        condition = { StringEquals = { "iam:AWSServiceName" = "kinesisreplication.dynamodb.amazonaws.com" } }
      },
      {
        sid       = "Export"
        actions   = ["dynamodb:ExportTableToPointInTime"]
        resources = [local.table.source]
      },
      {
        sid       = "ExportState"
        actions   = ["dynamodb:DescribeExport"]
        resources = ["${local.table.source}/export/*"]
      },
      {
        sid       = "Import"
        actions   = ["dynamodb:ImportTable"]
        resources = [local.table.target]
      },
      {
        sid       = "ImportState"
        actions   = ["dynamodb:DescribeImport"]
        resources = ["${local.table.target}/import/*"]
      },
      {
        sid       = "ImportLog" # AWS: Requesting a table import in DynamoDB
        actions   = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents", "logs:PutRetentionPolicy"]
        resources = [local.import_log]
      },
      {
        sid       = "ImportLogList" # DescribeLogGroups lists them all
        actions   = ["logs:DescribeLogGroups"]
        resources = ["*"]
      },
      {
        sid       = "SnapshotFiles" # AbortMultipartUpload and PutObjectAcl: AWS: Requesting a table export in DynamoDB
        actions   = ["s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject", "s3:PutObjectAcl"]
        resources = [local.objects]
      },
      {
        sid       = "SnapshotBucket"
        actions   = ["s3:ListBucket"]
        resources = [local.bucket]
      },
      {
        sid       = "LookAtStreams"
        actions   = ["kinesis:DescribeStreamSummary", "kinesis:ListShards"]
        resources = [local.stream.feed, local.stream.source, local.stream.target]
      },
      {
        sid       = "ReadTheStreamsEnd"
        actions   = ["kinesis:GetRecords", "kinesis:GetShardIterator"]
        resources = [local.stream.source, local.stream.target]
      },
      {
        sid       = "ControlTables"
        actions   = ["dynamodb:DescribeTable"]
        resources = [for name in keys(local.control_tables) : local.table[name]]
      },
      {
        sid       = "Journal"
        actions   = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"]
        resources = [local.table.journal]
      },
      {
        sid       = "Lease"
        actions   = ["dynamodb:ConditionCheckItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"]
        resources = [local.table.leases]
      },
      {
        sid       = "StatusAndHeartbeats"
        actions   = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"]
        resources = [local.table.heartbeats]
      },
      {
        sid       = "ReadReports"
        actions   = ["dynamodb:Query"]
        resources = [local.table.reports]
      },
      {
        sid       = "Letters" # keys whose rows differ are parked; an operator's word discards them and strays
        actions   = ["dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"]
        resources = [local.table.dead_letters]
      },
      local.first_hop,
    ],
    [for sid, each in {
      CreateStreams = { actions = ["kinesis:CreateStream", "kinesis:IncreaseStreamRetentionPeriod"], resources = values(local.stream) }
    } : { sid = sid, actions = each.actions, resources = each.resources } if var.controller_creates],
  )

  create_control_tables = {
    sid       = "CreateControlTables" # `crossfade control create --execute`
    actions   = ["dynamodb:CreateTable", "dynamodb:UpdateContinuousBackups", "dynamodb:UpdateTable"]
    resources = [for name in keys(local.control_tables) : local.table[name]]
  }

  operator = concat(var.operator_creates ? [local.create_control_tables] : [], [
    {
      sid       = "Plan"
      actions   = ["dynamodb:DescribeContinuousBackups", "dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive"]
      resources = [local.table.source, local.table.target]
    },
    {
      sid       = "PlanDescribe" # questions of `plan`, crossfade.core.plan.described
      actions   = ["dynamodb:DescribeContributorInsights", "dynamodb:GetResourcePolicy", "dynamodb:ListTagsOfResource"]
      resources = [local.table.source, local.table.target, "${local.table.source}/stream/*", "${local.table.target}/stream/*"]
    },
    {
      sid       = "PlanConsumers" # of the stream that the source has, which may not be ours yet
      actions   = ["kinesis:ListStreamConsumers"]
      resources = ["arn:${local.partition}:kinesis:${local.place}:stream/*"]
    },
    {
      sid       = "PlanIntegrations"
      actions   = ["glue:DescribeIntegrations", "redshift:DescribeIntegrations"]
      resources = ["arn:${local.partition}:glue:${local.place}:integration:*", "arn:${local.partition}:redshift:${local.place}:integration:*"]
    },
    {
      sid       = "PlanAttached" # lists of an account, or of resources that belong to others
      actions   = ["application-autoscaling:DescribeScalableTargets", "backup:ListRecoveryPointsByResource", "cloudwatch:GetMetricStatistics", "dax:DescribeClusters", "dynamodb:DescribeLimits", "dynamodb:ListBackups", "lambda:ListEventSourceMappings", "osis:ListPipelines", "pipes:ListPipes"]
      resources = ["*"]
    },
    {
      sid       = "PlanSample"
      actions   = ["dynamodb:Scan"]
      resources = [local.table.source, local.table.target]
    },
    {
      sid       = "PlanCapture"
      actions   = ["dynamodb:DescribeKinesisStreamingDestination"]
      resources = [local.table.source, local.table.target]
    },
    {
      sid       = "PlanStreams"
      actions   = ["kinesis:DescribeStreamSummary", "kinesis:ListShards"]
      resources = [local.stream.source, local.stream.target]
    },
    {
      sid       = "PlanBucket"
      actions   = ["s3:ListBucket"]
      resources = [local.bucket]
    },
    {
      sid       = "ControlTables"
      actions   = ["dynamodb:DescribeContinuousBackups", "dynamodb:DescribeTable", "dynamodb:Scan"]
      resources = [for name in keys(local.control_tables) : local.table[name]]
    },
    {
      sid       = "Ask"
      actions   = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"]
      resources = [local.table.journal]
    },
    {
      sid       = "Status"
      actions   = ["dynamodb:GetItem"]
      resources = [local.table.heartbeats]
    },
    {
      sid       = "Redrive"
      actions   = ["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PartiQLInsert", "dynamodb:PartiQLUpdate", "dynamodb:PutItem", "dynamodb:UpdateItem"]
      resources = [local.table.source, local.table.target]
    },
    {
      sid       = "RedriveLetters"
      actions   = ["dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"]
      resources = [local.table.dead_letters]
    },
    {
      sid       = "RedriveEvents"
      actions   = ["kinesis:PutRecords"]
      resources = [local.stream.feed]
    },
    {
      sid       = "OnlyTheOperatorDeletes" # design.md, section 3, rule 3
      actions   = ["dynamodb:DeleteItem"]
      resources = [local.table.source, local.table.target]
    },
  ])

  # What Lambda itself does with the role of a function that reads a stream.
  on_lambda = { for role, function in var.lambda_roles : role => concat(
    role == "feed" ? [local.phase] : [],
    [
      {
        sid       = "Reports"
        actions   = ["dynamodb:GetItem", "dynamodb:PutItem"]
        resources = [local.table.reports]
      },
      {
        sid       = "EventSource"
        actions   = ["kinesis:DescribeStream", "kinesis:DescribeStreamSummary"]
        resources = role == "feed" ? [local.stream.source, local.stream.target] : [local.stream[local.replicators[role].origin]]
      },
      {
        sid       = "EventSourceList"
        actions   = ["kinesis:ListStreams"]
        resources = ["*"]
      },
      {
        sid       = "OnFailure"
        actions   = ["sqs:SendMessage"]
        resources = [function.on_failure_arn]
      },
      {
        sid       = "Log"
        actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        resources = ["arn:${local.partition}:logs:${local.place}:log-group:/aws/lambda/${function.function_name}:*"]
      },
    ],
    [for each in [
      {
        sid       = "Network"
        actions   = ["ec2:AssignPrivateIpAddresses", "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:UnassignPrivateIpAddresses"]
        resources = [for kind in ["network-interface", "security-group", "subnet"] : "arn:${local.partition}:ec2:${local.place}:${kind}/*"]
      },
      {
        sid       = "NetworkList" # what describes them knows no resources
        actions   = ["ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcs"]
        resources = ["*"]
      },
    ] : each if function.in_vpc],
  ) }

  encryption = [for each in [true] : {
    sid       = "Encryption"
    actions   = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey", "kms:ReEncryptFrom", "kms:ReEncryptTo"]
    resources = var.kms_key_arns
    condition = { StringEquals = { "kms:ViaService" = [for service in ["dynamodb", "kinesis", "s3", "sqs"] : "${service}.${data.aws_region.current.region}.amazonaws.com"] } }
  } if length(var.kms_key_arns) > 0]

  keyed = merge({ "engagement-api" = local.api, verifier = local.verifier, controller = local.controller, operator = local.operator }, local.replicator)

  # The plain protocol's application has roles of its own, and its replicators run in the cluster only.
  own    = merge({ keyed = local.keyed, plain = local.plain }[var.protocol], { feed = local.feed })
  shared = { keyed = ["forward", "reverse", "feed"], plain = ["feed"] }[var.protocol]

  statements = { for service, own in local.own : service => concat(
    own,
    [for each in concat([], local.spill...) : each if service == "verifier"],
    local.encryption,
    contains(local.shared, service) ? try(local.on_lambda[service], local.in_cluster) : [],
  ) }

  policies = { for service, statements in local.statements : service => jsonencode({
    Version = "2012-10-17"
    Statement = [for each in statements : merge(
      { Sid = each.sid, Effect = "Allow", Action = each.actions, Resource = each.resources },
      can(each.condition) ? { Condition = each.condition } : {},
    )]
  }) }
}
