# The image holds the binary, certificate authorities and two empty folders.
FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel TARGETOS TARGETARCH
RUN GOOS=$TARGETOS GOARCH=$TARGETARCH make build VERSION=$VERSION
RUN install -d /empty/var/lib/lanyard && install -d -m 1777 /empty/tmp

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65532:65532 /empty/var/lib/lanyard /var/lib/lanyard
COPY --from=build /empty/tmp /tmp
COPY --from=build /src/bin/lanyard /lanyard
# Enough for the authority and every other command. The agent needs root: run it
# with --user 0 and the privileges that docs/security.md lists.
USER 65532:65532
ENV LANYARD_DATA_DIR=/var/lib/lanyard
VOLUME /var/lib/lanyard
ENTRYPOINT ["/lanyard"]
