// SPDX-License-Identifier: Apache-2.0

package dashboards

import (
	"bytes"
	"encoding/json"
	"fmt"
)

const configMapsHeader = `# SPDX-License-Identifier: Apache-2.0
#
# The dashboards for the sidecar of Grafana's charts, which takes every ConfigMap
# with this label. Made from the package's code. Do not edit: make monitoring
`

const configMap = `---
apiVersion: v1
kind: ConfigMap
metadata:
  name: %s
  labels:
    app.kubernetes.io/name: slicewatch
    app.kubernetes.io/component: dashboards
    grafana_dashboard: "1"
  annotations:
    grafana_folder: slicewatch
data:
  %s: |-
    %s
`

// ConfigMaps returns one ConfigMap for each dashboard, as one YAML file.
func ConfigMaps(all []Dashboard) ([]byte, error) {
	b := bytes.NewBufferString(configMapsHeader)
	for _, d := range all {
		text, err := d.JSON()
		if err != nil {
			return nil, err
		}
		// In one line: YAML then needs no indentation, and the object is smaller.
		var line bytes.Buffer
		if err := json.Compact(&line, text); err != nil {
			return nil, fmt.Errorf("write ConfigMap %s: %w", d.UID, err)
		}
		fmt.Fprintf(b, configMap, d.UID, d.File(), line.String())
	}
	return b.Bytes(), nil
}
