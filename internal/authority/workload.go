package authority

import (
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/store"
)

// workloads is the kind of enrolled workloads: they are made by their enrolment.
func (a *Authority) workloads() kind[resource.WorkloadSpec, resource.WorkloadStatus] {
	return kind[resource.WorkloadSpec, resource.WorkloadStatus]{
		name: resource.KindWorkload, path: resource.WorkloadsPath, noun: "workload",
		check: func(spec, _ *resource.WorkloadSpec, _ time.Time) error {
			spec.Status = orDefault(spec.Status, resource.StatusActive)
			return checkStatus(spec.Status)
		},
		mark: func(event *store.Event, name string) { event.WorkloadID = name },
		show: func(q store.Queries, name string, now time.Time) (declared[resource.WorkloadSpec, resource.WorkloadStatus], error) {
			workload, err := q.Workload(name)
			return declaredWorkload(workload, now), err
		},
		list: func(q store.Queries, after string, limit int, now time.Time) ([]declared[resource.WorkloadSpec, resource.WorkloadStatus], error) {
			workloads, err := q.Workloads(after, limit)
			all := make([]declared[resource.WorkloadSpec, resource.WorkloadStatus], len(workloads))
			for i, workload := range workloads {
				all[i] = declaredWorkload(workload, now)
			}
			return all, err
		},
		update: func(tx *store.Tx, name string, spec resource.WorkloadSpec, _ time.Time) error {
			return tx.SetWorkloadStatus(name, spec.Status)
		},
	}
}

// declaredWorkload shows which control refuses the workload wherever it calls from:
// that its network is allowed is seen when it calls.
func declaredWorkload(e store.Enrolled, now time.Time) declared[resource.WorkloadSpec, resource.WorkloadStatus] {
	status := resource.WorkloadStatus{
		Ticket:        e.Ticket.ID,
		Role:          e.Ticket.Role,
		Tags:          append([]string{}, e.Ticket.Tags...),
		KeyThumbprint: e.Workload.Thumbprint,
		Claimed:       e.Workload.Claimed,
		EnrolledAt:    e.Workload.CreatedAt,
		LastContactAt: e.Workload.LastContactAt,
	}
	if v := checkEnrolled(e, now); v != nil {
		status.RefusedBy = v.control
	}
	return declared[resource.WorkloadSpec, resource.WorkloadStatus]{
		Object: resource.Workload{
			Kind: resource.KindWorkload, Name: e.Workload.ID,
			Spec: resource.WorkloadSpec{Status: e.Workload.Status}, Status: status,
		},
		version: e.Workload.Version,
	}
}
