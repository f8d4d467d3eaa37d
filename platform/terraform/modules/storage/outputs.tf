output "repository_urls" {
  description = "Where each image is pushed and pulled, by name."
  value       = { for name, repository in aws_ecr_repository.this : name => repository.repository_url }
}

output "lustre" {
  description = "What a PersistentVolume of fsx.csi.aws.com needs: file system, DNS name, mount name; null without one."
  value = var.lustre.enabled ? {
    file_system_id = aws_fsx_lustre_file_system.models[0].id
    dns_name       = aws_fsx_lustre_file_system.models[0].dns_name
    mount_name     = aws_fsx_lustre_file_system.models[0].mount_name
  } : null
}
