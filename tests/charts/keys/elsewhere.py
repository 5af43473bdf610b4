"""Keys whose effect is not in what is rendered, or not there alone: which test sees it."""

from __future__ import annotations

from tests.charts.keys.upstream import expand

_HTTP, _LAUNCHES, _GITHUB, _KEYS, _OWN_REGISTRY = (
    f"tests/binder/test_binder_{name}.py" for name in ("http", "launches", "github", "keys", "own_registry")
)
_OWN_PAGES = f"{_HTTP}::test_the_operators_own_pages_and_files"
_WORDS = f"{_KEYS}::test_pages_say_what_the_operator_wrote"
_BANS = f"{_HTTP}::test_bans_cors_and_a_base_url"
_HUB = f"{_KEYS}::test_which_hub_it_is"
_STORED = f"{_OWN_REGISTRY}::test_an_image_is_built_copied_there_and_found_there"
_SPECS = f"{_GITHUB}::test_quotas_and_bans"
_ASKED = f"{_KEYS}::test_github_is_asked_as_the_operator_says"

# Keys that have no row: the test that stands for them.
NO_ROW = {
    "etcJupyter": "tests/charts/test_charts_extra.py::test_maps_become_json_and_text_stays",
    "extra": "tests/charts/test_charts_extra.py::test_a_template_of_the_operators_own",
    "binderhub.imageBuilderType": "tests/charts/test_charts_refusals.py::test_builders_that_share_an_engine",
    "nginx-ingress.controller.kind": "tests/charts/test_charts_refusals.py::test_a_controller_is_a_deployment",
}

# `config` of the binderhub chart: a row says that it arrives in the binder's settings, and this what the binder does.
_BINDER = {
    "about_message": _WORDS,
    "badge_base_url": _WORDS,
    "ban_networks": _BANS,
    "banner_message": _OWN_PAGES,
    "base_url": _BANS,
    "build_cleanup_interval": f"{_LAUNCHES}::test_the_cleaner_removes_what_nobody_watches",
    "build_max_age": f"{_LAUNCHES}::test_a_build_that_takes_too_long",
    "build_token_check_origin": f"{_KEYS}::test_tokens_of_pages",
    "build_token_expires_seconds": f"{_KEYS}::test_tokens_of_pages",
    "build_token_secret": f"{_KEYS}::test_tokens_of_pages",
    "concurrent_build_limit": f"{_KEYS}::test_builds_beyond_the_limit_wait_their_turn",
    "cors_allow_origin": _BANS,
    "debug": f"{_KEYS}::test_debug_says_more",
    "default_opengraph_title": _WORDS,
    "enable_api_only_mode": f"{_HTTP}::test_the_api_only_mode",
    "extra_footer_scripts": _OWN_PAGES,
    "extra_header_html": _OWN_PAGES,
    "extra_static_path": _OWN_PAGES,
    "extra_static_url_prefix": _WORDS,
    "hub_api_token": _HUB,
    "hub_url": _HUB,
    "hub_url_local": _HUB,
    "image_prefix": _STORED,
    "log_tail_lines": f"{_KEYS}::test_late_watchers_get_as_many_lines_as_are_kept",
    "normalized_origin": _HUB,
    "per_repo_quota": f"{_LAUNCHES}::test_the_quota_of_one_repository",
    "per_repo_quota_higher": f"{_KEYS}::test_a_repository_of_the_higher_quota",
    "pod_quota": f"{_LAUNCHES}::test_the_quota_of_all",
    "repo_providers": f"{_HTTP}::test_versions_metrics_and_providers",
    "template_path": _OWN_PAGES,
    "template_variables": _OWN_PAGES,
    "tornado_settings": _BANS,
    "use_registry": f"{_OWN_REGISTRY}::test_one_that_is_named_but_not_used_gets_nothing",
}
_PROVIDERS = "{RepoProvider,GitHubRepoProvider,GitLabRepoProvider,GitRepoProvider,LocalRepoProvider}"
_OTHERS = {
    **dict.fromkeys(
        ("BuildExecutor.repo2docker_extra_args", "KubernetesBuildExecutor.repo2docker_extra_args"),
        "tests/build/test_build_real.py::test_options_that_an_operator_adds_show_in_the_image",
    ),
    "KubernetesBuildExecutor.log_tail_lines": f"{_KEYS}::test_late_watchers_get_as_many_lines_as_are_kept",
    "KubernetesCleaner.max_age": f"{_LAUNCHES}::test_a_build_that_takes_too_long",
    "Launcher.launch_timeout": f"{_LAUNCHES}::test_a_launch_that_takes_too_long",
    "Launcher.retries": f"{_LAUNCHES}::test_a_server_that_does_not_start_is_tried_again_and_then_told",
    "Launcher.retry_delay": f"{_LAUNCHES}::test_attempts_are_as_far_apart_as_the_operator_says",
    "LaunchQuota.total_quota": f"{_LAUNCHES}::test_the_quota_of_all",
    "KubernetesLaunchQuota.total_quota": f"{_LAUNCHES}::test_the_quota_of_all",
    "RateLimiter.limit": f"{_HTTP}::test_the_rate_limit",
    "RateLimiter.period_seconds": f"{_KEYS}::test_the_period_of_the_rate_limit",
    "GitRepoProvider.allowed_protocols": f"{_KEYS}::test_protocols_of_git",
    **{
        f"GitHubRepoProvider.{trait}": _ASKED
        for trait in ("access_token", "api_base_path", "client_id", "client_secret", "hostname")
    },
    **{
        f"GitLabRepoProvider.{trait}": "tests/binder/test_binder_gitlab.py::test_it_is_asked_as_the_operator_says"
        for trait in ("access_token", "hostname", "private_token")
    },
    **dict.fromkeys(
        expand(_PROVIDERS + ".{allowed_specs,high_quota_specs,spec_config}"),
        _SPECS,
    ),
    **dict.fromkeys(
        expand(f"{_PROVIDERS}.banned_specs"),
        f"{_HTTP}::test_banned_specs_and_hidden_uploads",
    ),
    **dict.fromkeys(
        expand(f"{_PROVIDERS}.git_credentials"),
        "tests/binder/test_binder_credentials.py::test_a_build_is_given_them",
    ),
}
IN_A_BINDER = {
    f"binderhub.config.{key}": test
    for key, test in {**{f"BinderHub.{trait}": test for trait, test in _BINDER.items()}, **_OTHERS}.items()
}
