#!/bin/bash
# Becomes PID 1 of its own namespaces, running Debian's systemd on this machine's file system.
#   boot.sh FOLDER PROJECT GROUP
# FOLDER holds what this machine keeps over its restarts: upper (an overlay of /), units (/etc/systemd/system), state
# (/var/lib/binderops). PROJECT is mounted where it is. GROUP is the control group that is the root of its own tree.
set -eu
folder=$1 project=$2 group=$3 root=$1/root cgroups=/sys/fs/cgroup

if [ "${4:-}" != inside ]; then
  for tree in "$cgroups" "$cgroups"/*/; do
    [ ! -d "$tree/$group" ] || echo 0 > "$tree/$group/cgroup.procs"
  done
  exec unshare --cgroup bash "$0" "$folder" "$project" "$group" inside
fi

mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$root"
cd "$root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p ".$project" var/lib/binderops
mount --bind -o ro "$project" ".$project"
mount --bind "$folder/state" var/lib/binderops
mount --bind "$folder/units" etc/systemd/system
# Nothing of what this machine would do at its own start: no disks, no swap, no first boot, no old init scripts.
mount --bind "$folder/machine-id" etc/machine-id
[ ! -e etc/fstab ] || mount --bind /dev/null etc/fstab
mount -t tmpfs tmpfs lib/systemd/system-generators

mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty fuse; do
  [ ! -e "/dev/$device" ] || { touch "dev/$device"; mount --bind "/dev/$device" "dev/$device"; }
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd

# The same hierarchies as the machine's, each with this group as its root.
if [ -e "$cgroups/cgroup.controllers" ]; then
  mount -t cgroup2 cgroup2 sys/fs/cgroup
else
  mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
  while read -r _ place kind options _; do
    name=${place#"$cgroups"/}
    case $kind in
      cgroup2) mkdir "sys/fs/cgroup/$name"; mount -t cgroup2 cgroup2 "sys/fs/cgroup/$name" ;;
      cgroup)
        what=$(tr , '\n' <<< "$options" | grep -vxE 'rw|ro|no.*|relatime|xattr|release_agent=.*' | paste -sd ,)
        mkdir "sys/fs/cgroup/$name"
        mount -t cgroup -o "${what/#name=/none,name=}" cgroup "sys/fs/cgroup/$name" ;;
    esac
  done < <(awk -v top="$cgroups/" 'index($2, top) == 1' /proc/mounts)
fi

ip link set lo up
mkdir -p .before
pivot_root . .before
cd /
umount --lazy /.before
rmdir /.before
exec env -i container=binderops-test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd
