// SPDX-License-Identifier: Apache-2.0

// Package conflicts holds hints against what else in the cluster decides over
// requests and limits: HorizontalPodAutoscalers, VerticalPodAutoscalers,
// LimitRanges and ResourceQuotas. It owns these rules, which are pure: objects
// in, amounts and reasons out. It must not know how the objects were read, nor
// how a hint is printed; and the agent must not know it, as the agent reads none
// of these objects.
package conflicts
