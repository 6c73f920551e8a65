"""Inputs on which version 0.1 went wrong, by number, with the tests that hold the right value."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent
HELD = {
    1: [
        "train/test_module.py::test_load_from_checkpoint_gives_an_equal_module",
        "data/test_module.py::test_predict_gives_logits_of_every_test_image",
    ],
    2: [
        "end_to_end/test_environment.py::test_variables_left_behind_change_nothing",
        "train/test_environment.py::test_no_variable_of_the_trainer_reaches_a_number",
    ],
    3: [
        "cases/test_yaml.py::test_case_03_words_are_words",
        "spec/test_document.py::test_a_scalar_is_what_it_looks_like",
    ],
    4: ["cases/test_yaml.py::test_case_04_merge_keys", "spec/test_document.py::test_merge_keys"],
    5: ["cases/test_yaml.py::test_case_05_numbers_are_those_that_were_written"],
    6: ["cases/test_plan_knows.py::test_case_06_one_value_a_statistic"],
    7: ["cases/test_plan_knows.py::test_case_07_precision_and_accelerator"],
    8: [
        "data/test_idx.py::test_other_pixels_of_the_right_size_are_refused_for_every_known_set",
        "data/test_idx.py::test_labels_out_of_range_are_named_with_their_file_and_range",
    ],
    9: ["cases/test_plan_knows.py::test_case_09_a_misspelt_metric"],
    10: [
        "cases/test_names.py::test_case_10_any_name_of_an_axis_has_a_report",
        "store/test_axes.py::test_two_axes_with_one_last_part_are_two_columns",
    ],
    11: [
        "tracking/test_identity.py::test_offline_runs_keep_their_own_ids",
        "tracking/test_identity.py::test_wandb_project_reaches_the_server_and_the_offline_file",
    ],
    12: [
        "end_to_end/test_environment.py::test_a_port_in_the_environment_does_not_mix_two_runs",
        "end_to_end/test_environment.py::test_two_nodes_train_one_run",
        "end_to_end/test_environment.py::test_torchrun_is_told_at_once",
    ],
    13: [
        "norms/test_distributed.py::test_two_processes_of_sync_batch_are_one_of_batch",
        "norms/test_formulas.py::test_batch_sync_virtual_and_ghost_are_one_formula",
    ],
    14: [
        "data/test_places.py::test_a_near_miss_is_named_and_nothing_is_made_or_replaced",
        "data/test_source.py::test_without_a_network_the_embedded_digits_are_used_and_it_is_said_each_time",
        "data/test_source.py::test_the_network_is_tried_again_whatever_failed_before",
        "cli/test_train.py::test_home_is_home_everywhere",
    ],
    15: [
        "train/test_divergence.py::test_an_update_that_no_loss_came_after_counts_at_the_last_step",
        "cases/test_names.py::test_case_15_a_level_that_diverges_in_every_run_has_a_report",
    ],
    16: ["cases/test_plugins.py::test_case_16_what_a_constructor_sets_stays_and_every_draw_follows_the_seed"],
    17: ["train/test_ways.py::test_overfitting_trains_on_the_same_batches_over_and_over"],
    18: [
        "data/test_source.py::test_a_cache_that_cannot_be_written_is_named_and_plan_and_run_agree",
        "train/test_run.py::test_a_folder_of_another_name_is_refused",
    ],
    19: [
        "train/test_checkpoint.py::test_an_unusable_checkpoint_is_kept_aside_and_the_run_starts_again",
        "cli/test_train.py::test_an_unusable_checkpoint_is_said_once",
    ],
    20: ["end_to_end/test_ends.py::test_a_stopped_training_says_so"],
    21: [
        "cli/test_study.py::test_live_status_ends_when_nothing_runs_or_waits",
        "report/test_commands.py::test_watch_ends_when_nothing_can_come",
    ],
    22: ["cases/test_plan_knows.py::test_case_22_impossible_values"],
    23: ["cli/test_study.py::test_a_result_that_cannot_count_is_named_set_aside_and_repeated"],
    24: ["end_to_end/test_ends.py::test_two_commands_share_a_study_and_both_end_with_all_of_it"],
    25: [
        "data/test_places.py::test_an_unknown_user_without_a_home_gets_the_embedded_digits",
        "data/test_places.py::test_an_unknown_user_needs_no_cache_where_the_files_are",
    ],
    26: [
        "cases/test_names.py::test_case_26_compare_on_any_terminal",
        "cli/test_main.py::test_any_terminal_takes_any_words",
    ],
    27: ["cases/test_leftovers.py::test_case_27_a_half_made_environment_is_made_anew"],
    28: ["norms/test_formulas.py::test_convert_sync_batchnorm_keeps_what_a_norm_is"],
    29: [
        "norms/test_facts.py::test_a_false_claim_is_refused",
        "cases/test_plugins.py::test_case_29_a_false_claim_is_noticed_before_training",
    ],
}


@pytest.mark.parametrize("number", range(1, 30))
def test_every_case_is_held_by_tests_that_exist(number: int) -> None:
    for test in HELD[number]:
        path, _, name = test.partition("::")
        assert re.search(rf"^def {name}\(", (TESTS / path).read_text(encoding="utf-8"), re.MULTILINE), test
