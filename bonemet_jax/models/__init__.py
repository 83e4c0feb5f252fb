"""Networks: ResNets with mask bias, BatchNorm that never counts padding, costs known before a run."""
