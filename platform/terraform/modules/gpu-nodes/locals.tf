# What follows from the groups alone: tests evaluate it without AWS.

locals {
  taints = {
    for name, group in var.groups : name => merge(
      # Only what asks for a GPU comes here.
      { "nvidia.com/gpu" = "true" },
      # And only what says that it can be gone in two minutes comes to spot.
      group.capacity_type == "SPOT" ? { "faultload.io/spot" = "true" } : {},
    )
  }
  labels = {
    for name, group in var.groups : name => merge(group.labels, {
      "faultload.io/gpu"       = group.gpu
      "faultload.io/gpus"      = tostring(group.gpus)
      "nvidia.com/gpu.present" = "true"
      # EKS adds eks.amazonaws.com/capacityType itself.
    })
  }
}
