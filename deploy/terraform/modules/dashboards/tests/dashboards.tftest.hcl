mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { region = "us-east-1" }
  }
}

variables {
  migration  = "engagement"
  tables     = { source = "wallet" }
  streams    = { source = "wallet-changes", target = "engagement-changes", feed = "engagement-events" }
  alarm_arns = ["arn:aws:cloudwatch:us-east-1:111122223333:alarm:a"]
}

run "widgets_have_places_of_their_own" {
  command = plan

  assert {
    condition     = length(distinct([for each in jsondecode(output.body).widgets : "${each.x},${each.y}"])) == length(jsondecode(output.body).widgets)
    error_message = "widgets lie upon each other"
  }
  assert {
    condition     = jsondecode(output.body).widgets[0].type == "alarm"
    error_message = "the alarms are not on top"
  }
  assert {
    condition     = alltrue([for each in jsondecode(output.body).widgets : each.properties.region == "us-east-1" if each.type == "metric"])
    error_message = "a widget is of another Region"
  }
}

run "a_table_that_is_not_there_is_not_drawn" {
  command = plan

  assert {
    condition     = strcontains(output.body, "\"TableName\",\"wallet\"") && !strcontains(output.body, "\"TableName\",\"engagement\"")
    error_message = "the tables are not those that there are"
  }
}
