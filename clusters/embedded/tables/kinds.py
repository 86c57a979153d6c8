"""kubectl's columns of the built-in kinds: the one place to look up or change what a kind shows.

A column is `NAME=PATH|FUNCTION?DEFAULT`: the value at PATH of the object (without one: the object), through FUNCTION
of cells.py or pods.py, and DEFAULT where that gives nothing or nothing is asked. A `*` after the name marks the columns
of `-o wide`. Name comes first by itself, `Age` needs no more words, and a kind without a line has these two.
"""

from typing import Final

_WORKLOAD: Final = "Age, Containers*=spec.template|names, Images*=spec.template|images, Selector*=spec.selector|to_text"
_ROLE: Final = "Created At=metadata.creationTimestamp"
_BINDING: Final = (
    "Role=roleRef|reference, Age, Users*=subjects|users, Groups*=subjects|groups, ServiceAccounts*=subjects|accounts"
)

COLUMNS: Final[dict[str, str]] = {
    "pods": "Ready=|pod_ready, Status=|pod_state, Restarts=|pod_restarts, Age, IP*=status.podIP?<none>, "
    "Node*=spec.nodeName?<none>, Nominated Node*=status.nominatedNodeName?<none>, "
    "Readiness Gates*=|pod_gates?<none>",
    "deployments.apps": "Ready=|ready_share, Up-to-date=status.updatedReplicas?0, "
    f"Available=status.availableReplicas?0, {_WORKLOAD}",
    "replicasets.apps": "Desired=spec.replicas?1, Current=status.replicas?0, Ready=status.readyReplicas?0, "
    f"{_WORKLOAD}",
    "jobs.batch": f"Status=|job_state, Completions=|completions, Duration=|job_duration, {_WORKLOAD}",
    "services": "Type=spec.type?ClusterIP, Cluster-IP=spec.clusterIP?<none>, External-IP=|external_address, "
    "Port(s)=spec.ports|service_ports?<none>, Age, Selector*=spec.selector|pairs?<none>",
    "endpointslices.discovery.k8s.io": "AddressType=addressType, Ports=ports|slice_ports?<unset>, "
    "Endpoints=endpoints|slice_addresses?<unset>, Age",
    "certificatesigningrequests.certificates.k8s.io": "Age, SignerName=spec.signerName?<none>, "
    "Requestor=spec.username, RequestedDuration=spec.expirationSeconds|lasting?<none>, Condition=status|request_state",
    "nodes": "Status=|node_state, Roles=metadata.labels|roles?<none>, Age, Version=status.nodeInfo.kubeletVersion, "
    "Internal-IP*=status.addresses|internal_ip?<none>, External-IP*=?<none>, "
    "OS-Image*=status.nodeInfo.osImage?<unknown>, Kernel-Version*=status.nodeInfo.kernelVersion?<unknown>, "
    "Container-Runtime*=status.nodeInfo.containerRuntimeVersion?<unknown>",
    "namespaces": "Status=status.phase?Active, Age",
    "configmaps": "Data=|data_count, Age",
    "secrets": "Type=type?Opaque, Data=|data_count, Age",
    "serviceaccounts": "Secrets=secrets|count, Age",
    "persistentvolumeclaims": "Status=|claim_state, Volume=spec.volumeName, Capacity=|claim_capacity, "
    "Access Modes=|claim_modes, StorageClass=spec.storageClassName, VolumeAttributesClass=?<unset>, Age, "
    "VolumeMode*=spec.volumeMode?Filesystem",
    "storageclasses.storage.k8s.io": "Provisioner=provisioner, ReclaimPolicy=reclaimPolicy?Delete, "
    "VolumeBindingMode=volumeBindingMode?Immediate, AllowVolumeExpansion=allowVolumeExpansion|true_or_false, Age",
    "poddisruptionbudgets.policy": "Min Available=spec.minAvailable?N/A, Max Unavailable=spec.maxUnavailable?N/A, "
    "Allowed Disruptions=status.disruptionsAllowed?0, Age",
    "networkpolicies.networking.k8s.io": "Pod-Selector=spec.podSelector|to_text?<none>, Age",
    "ingresses.networking.k8s.io": "Class=spec.ingressClassName?<none>, Hosts=spec.rules|hosts?*, "
    "Address=status.loadBalancer.ingress|addresses, Ports=spec.tls|ingress_ports, Age",
    "leases.coordination.k8s.io": "Holder=spec.holderIdentity, Age",
    "customresourcedefinitions.apiextensions.k8s.io": _ROLE,
    "roles.rbac.authorization.k8s.io": _ROLE,
    "clusterroles.rbac.authorization.k8s.io": _ROLE,
    "rolebindings.rbac.authorization.k8s.io": _BINDING,
    "clusterrolebindings.rbac.authorization.k8s.io": _BINDING,
    "events": "Last Seen=|last_seen, Type=type, Reason=reason, Object=involvedObject|involved, "
    "Subobject*=involvedObject.fieldPath, Source*=|event_source, Message=message|stripped, First Seen*=|first_seen, "
    "Count*=count?1, Name*=metadata.name",
    "resourcequotas": "Request=|quota_requests, Limit=|quota_limits, Age",
    "horizontalpodautoscalers.autoscaling": "Reference=spec.scaleTargetRef|reference, "
    "MinPods=spec.minReplicas?<unset>, MaxPods=spec.maxReplicas?0, Replicas=status.currentReplicas?0, Age",
}
