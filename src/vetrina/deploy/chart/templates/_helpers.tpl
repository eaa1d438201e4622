{{- define "vetrina.labels" -}}
app.kubernetes.io/name: vetrina
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "vetrina.identity" -}}
serviceAccountName: {{ .Values.serviceAccount | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "vetrina.confinement" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{- define "vetrina.folder" -}}
# Vetrina takes only keys that nobody else can read, and the files of a Secret belong to root.
- name: folder
  image: {{ . | quote }}
  command: [sh, -euc]
  args:
    - |
      put() {
        new=$(mktemp -p "$2")
        cat "$1" > "$new"
        mv "$new" "$2/${1##*/}"
      }
      mkdir -p -m 0700 /shop/keys
      for key in /keys/*; do
        put "$key" /shop/keys
      done
      put /settings/vetrina.toml /shop
  {{- include "vetrina.confinement" . | nindent 2 }}
  resources:
    requests:
      cpu: 50m
      memory: 64Mi
    limits:
      memory: 64Mi
  volumeMounts:
    - name: shop
      mountPath: /shop
    - name: keys
      mountPath: /keys
      readOnly: true
    - name: settings
      mountPath: /settings
      readOnly: true
{{- end }}

{{- define "vetrina.shop" -}}
# Passwords and credentials: PGPASSWORD, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL.
envFrom:
  - secretRef:
      name: {{ .Values.secrets.environment | quote }}
volumeMounts:
  - name: shop
    mountPath: /shop
  - name: tmp
    mountPath: /tmp
{{- end }}

{{- define "vetrina.volumes" -}}
- name: tmp
  emptyDir: {}
- name: settings
  configMap:
    name: {{ .Release.Name }}-settings
- name: keys
  secret:
    secretName: {{ .Values.secrets.keys | quote }}
    defaultMode: 0440
    optional: false
{{- end }}

{{- define "vetrina.no-retry" -}}
# Bad input is the same at every try.
podFailurePolicy:
  rules:
    - action: FailJob
      onExitCodes:
        operator: In
        values: [2]
{{- end }}

{{- define "vetrina.training-pod" -}}
{{- include "vetrina.identity" . }}
initContainers:
  {{- include "vetrina.folder" .Values.image.train | nindent 2 }}
volumes:
  - name: shop
    persistentVolumeClaim:
      claimName: {{ .Release.Name }}-data
  {{- include "vetrina.volumes" . | nindent 2 }}
{{- end }}

{{- define "vetrina.training-container" -}}
image: {{ .Values.image.train | quote }}
{{- include "vetrina.confinement" . | nindent 0 }}
resources:
  requests:
    cpu: {{ .Values.training.cpu | quote }}
    memory: {{ .Values.training.memory | quote }}
  limits:
    memory: {{ .Values.training.memory | quote }}
{{- include "vetrina.shop" . | nindent 0 }}
{{- end }}

{{- define "vetrina.service-pod" -}}
{{- include "vetrina.identity" . }}
# The preStop hook, the 10 s that requests under way get, and a margin.
terminationGracePeriodSeconds: 30
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: {{ .Values.api.whenUnsatisfiable }}
    labelSelector:
      matchLabels:
        {{- include "vetrina.labels" . | nindent 8 }}
        app.kubernetes.io/component: api
    matchLabelKeys: [pod-template-hash]
  - maxSkew: 1
    topologyKey: topology.kubernetes.io/zone
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "vetrina.labels" . | nindent 8 }}
        app.kubernetes.io/component: api
    matchLabelKeys: [pod-template-hash]
initContainers:
  {{- include "vetrina.folder" .Values.image.serve | nindent 2 }}
volumes:
  # Keys, settings and copies of bundles: all else lies in the database and in object storage.
  - name: shop
    emptyDir:
      sizeLimit: {{ .Values.api.bundleSpace | quote }}
  {{- include "vetrina.volumes" . | nindent 2 }}
{{- end }}

{{- define "vetrina.service-container" -}}
image: {{ .Values.image.serve | quote }}
args: [serve, --host, 0.0.0.0]
ports:
  - name: http
    containerPort: 8337
# Bundles that the pod does not have yet are fetched from object storage before it answers.
startupProbe:
  httpGet:
    path: /healthz
    port: http
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 150
readinessProbe:
  httpGet:
    path: /readyz
    port: http
  periodSeconds: 5
  timeoutSeconds: 2
  failureThreshold: 2
livenessProbe:
  httpGet:
    path: /healthz
    port: http
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
# The Service and its proxies stop sending requests here before the process stops taking them.
lifecycle:
  preStop:
    exec:
      command: [sleep, "10"]
{{- include "vetrina.confinement" . | nindent 0 }}
# No limit of CPU: it would stop the worker for the rest of each period of 100 ms.
resources:
  requests:
    cpu: {{ .Values.api.cpu | quote }}
    memory: {{ .Values.api.memory | quote }}
    ephemeral-storage: {{ .Values.api.bundleSpace | quote }}
  limits:
    memory: {{ .Values.api.memory | quote }}
{{- include "vetrina.shop" . | nindent 0 }}
{{- end }}
