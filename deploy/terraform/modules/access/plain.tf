# The plain protocol's rights are those that `crossfade policy` prints: tools/access_policies.py writes them to plain.json.

locals {
  plain_resources = merge(
    {
      "*"             = ["*"]
      "any-stream"    = ["arn:${local.partition}:kinesis:${local.place}:stream/*"]
      "integrations"  = [for service in ["glue", "redshift"] : "arn:${local.partition}:${service}:${local.place}:integration:*"]
      "bucket"        = [local.bucket]
      "objects"       = [local.objects]
      "import-log"    = [local.import_log]
      "capture-role"  = [local.capture_role]
      "source-export" = ["${local.table.source}/export/*"]
      "target-import" = ["${local.table.target}/import/*"]
    },
    { for kind, arn in local.table : replace(kind, "_", "-") => [arn] },
    { for kind, arn in local.stream : "${kind}-stream" => [arn] },
    { for side in keys(var.tables) : "${side}-table-stream" => ["${local.table[side]}/stream/*"] },
  )

  plain_left_out = concat(var.controller_creates ? [] : ["CreateStreams"], var.operator_creates ? [] : ["CreateControlTables"])

  plain = { for role, statements in jsondecode(file("${path.module}/plain.json")) : role => [
    for each in statements : merge(each, { resources = flatten([for kind in each.on : local.plain_resources[kind]]) })
    if !contains(local.plain_left_out, each.sid)
  ] }
}
