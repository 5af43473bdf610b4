"""What runs inside a build pod: repo2docker as a library, with a buildpack and an engine of this project.

`main` reads repo2docker's arguments; `configuration` sets up the pod; `engine` drives buildah; `pushing` moves what is
new to the registry; `uv_*` is the buildpack; `artifact` fetches uploaded content. Nothing here trusts the repository.
"""
