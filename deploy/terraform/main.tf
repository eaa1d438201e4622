# A shop on AWS: one machine with both containers, managed PostgreSQL, a bucket for bundles and a secret. For Terraform or OpenTofu.
# Nobody has applied this file: a test parses it and holds it against the images. docs/how-to/automation.md goes through it.
terraform {
  required_version = ">= 1.11" # write-only arguments keep the password out of the state
  required_providers {
    aws = { source = "hashicorp/aws", version = "~> 6.0" }
  }
}

variable "subnet_id" { type = string }               # private, with a way out to the registry and AWS
variable "machine_security_group" { type = string }  # lets clients in at 8337
variable "database_subnet_group" { type = string }   # of two zones
variable "database_security_group" { type = string } # lets the machine in at 5432
variable "serve_image" { type = string }             # REGISTRY/vetrina-serve:VERSION
variable "train_image" { type = string }             # REGISTRY/vetrina-train:VERSION
variable "database_password" {                       # TF_VAR_database_password
  type      = string
  ephemeral = true
}

data "aws_region" "here" {}
data "aws_ssm_parameter" "ami" { name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64" }

resource "aws_s3_bucket" "bundles" { bucket_prefix = "vetrina-" }
resource "aws_secretsmanager_secret" "database" { name_prefix = "vetrina-database-" }
resource "aws_secretsmanager_secret_version" "database" {
  secret_id                = aws_secretsmanager_secret.database.id
  secret_string_wo         = var.database_password
  secret_string_wo_version = 1
}

resource "aws_db_instance" "store" {
  engine                    = "postgres"
  instance_class            = "db.t4g.medium"
  allocated_storage         = 50
  storage_encrypted         = true
  db_name                   = "vetrina"
  username                  = "vetrina"
  password_wo               = var.database_password
  password_wo_version       = 1
  db_subnet_group_name      = var.database_subnet_group
  vpc_security_group_ids    = [var.database_security_group]
  backup_retention_period   = 7
  deletion_protection       = true
  final_snapshot_identifier = "vetrina-final"
}

resource "aws_iam_role" "machine" {
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ec2.amazonaws.com" } }]
  })
}
resource "aws_iam_role_policy" "machine" {
  role = aws_iam_role.machine.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = "s3:ListBucket", Resource = aws_s3_bucket.bundles.arn },
      { Effect = "Allow", Action = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"], Resource = "${aws_s3_bucket.bundles.arn}/*" },
      { Effect = "Allow", Action = "secretsmanager:GetSecretValue", Resource = aws_secretsmanager_secret.database.arn },
    ]
  })
}
resource "aws_iam_instance_profile" "machine" { role = aws_iam_role.machine.name }

resource "aws_instance" "machine" {
  ami                    = data.aws_ssm_parameter.ami.insecure_value
  instance_type          = "m7i.xlarge"
  subnet_id              = var.subnet_id
  vpc_security_group_ids = [var.machine_security_group]
  iam_instance_profile   = aws_iam_instance_profile.machine.name
  root_block_device { # lake, keys and settings lie there
    volume_size           = 100
    encrypted             = true
    delete_on_termination = false
  }
  lifecycle { ignore_changes = [ami, user_data] } # a later one makes no new machine
  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 2 # containers get the role's credentials
  }
  user_data = <<-EOT
    #!/bin/bash
    set -eu
    dnf install -y docker
    systemctl enable --now docker
    install -d -m 0700 -o 10001 -g 10001 /srv/shop
    cat > /srv/shop/vetrina.toml <<TOML
    [store]
    url = "postgresql://vetrina@${aws_db_instance.store.address}/vetrina?sslmode=require"
    bundles = "s3://${aws_s3_bucket.bundles.id}/shop"
    TOML
    chown 10001:10001 /srv/shop/vetrina.toml
    export PGPASSWORD=$(aws secretsmanager get-secret-value --region ${data.aws_region.here.region} \
      --secret-id ${aws_secretsmanager_secret.database.arn} --query SecretString --output text)
    run="docker run --detach --restart unless-stopped --read-only --tmpfs /tmp --cap-drop ALL --env PGPASSWORD --volume /srv/shop:/shop"
    $run --name controller ${var.train_image} operate
    $run --name service --publish 8337:8337 ${var.serve_image} serve --host 0.0.0.0
  EOT
}

output "service" { value = "http://${aws_instance.machine.private_ip}:8337" }
