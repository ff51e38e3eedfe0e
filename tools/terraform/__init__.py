"""What the Terraform modules are made and tested with."""
