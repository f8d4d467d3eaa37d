# What follows from the variables alone: tests evaluate it without AWS.

locals {
  # Of a /16: a /19 for nodes and pods in each zone from the bottom, a /24 for load balancers from .224.
  private_cidrs = { for i, zone in var.zones : zone => cidrsubnet(var.cidr, 3, i) }
  public_cidrs  = { for i, zone in var.zones : zone => cidrsubnet(var.cidr, 8, 224 + i) }
  nat_zones     = toset(var.nat_gateways == "per_zone" ? var.zones : [var.zones[0]])

  cluster_tag = var.cluster_name == null ? {} : { "kubernetes.io/cluster/${var.cluster_name}" = "shared" }
  # What Karpenter's node classes look for.
  discovery_tag = var.cluster_name == null ? {} : { "karpenter.sh/discovery" = var.cluster_name }
}
