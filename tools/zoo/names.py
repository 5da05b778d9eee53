"""The pinned list: every model that docs/models.md has a row for, the smallest of each architecture family."""


def words(text):
    return text.split()


TORCHVISION = words(
    "alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3 maxvit_t mnasnet0_5 mobilenet_v2 "
    "mobilenet_v3_small regnet_x_400mf regnet_y_400mf resnet18 resnet50 resnext50_32x4d shufflenet_v2_x0_5 squeezenet1_1 swin_t swin_v2_t "
    "vgg11 vgg11_bn vit_b_16 wide_resnet50_2"
)

SEGMENTATION = words("deeplabv3_mobilenet_v3_large deeplabv3_resnet50 fcn_resnet50 lraspp_mobilenet_v3_large")

TIMM = words(
    "aimv2_large_patch14_224 bat_resnext26ts beit_base_patch16_224 botnet26t_256 caformer_s18 cait_xxs24_224 "
    "coat_lite_tiny coatnet_nano_rw_224 "
    "convformer_s18 convit_tiny convmixer_768_32 convnext_atto convnextv2_atto cpubone_b0_bfrobust crossvit_9_240 cs3darknet_s csatv2 "
    "cspnext_tiny cspresnet50 davit_tiny deit3_small_patch16_224 deit_tiny_distilled_patch16_224 densenetblur121d dla46_c dpn48b "
    "eca_halonext26ts ecaresnet26t edgenext_xx_small efficientformer_l1 efficientformerv2_s0 efficientnet_lite0 efficientvim_m1 "
    "efficientvit_b0 efficientvit_m0 ese_vovnet19b_slim_dw eva02_tiny_patch14_224 fasternet_t0 fastvit_t8 fbnetv3_b focalnet_tiny_srf "
    "gcresnext26ts gcvit_xxtiny gernet_s ghostnet_050 ghostnetv2_100 ghostnetv3_100 gmixer_12_224 gmlp_ti16_224 "
    "hardcorenas_a hgnet_tiny hgnetv2_b0 "
    "hiera_tiny_224 hieradet_small hrnet_w18_small iformer_t inception_next_atto inception_resnet_v2 inception_v4 lambda_resnet26t "
    "lcnet_050 lcnetv2_small legacy_seresnet18 legacy_xception levit_128s levit_conv_128s lowformer_b0 mambaout_femto "
    "maxvit_rmlp_pico_rw_256 "
    "mixer_s32_224 mixnet_s mnasnet_small mobilenetv1_100 mobilenetv4_conv_small mobilenetv5_300m mobileone_s0 "
    "mobilevit_xxs mobilevitv2_050 "
    "mvitv2_tiny nasnetalarge nest_tiny nextvit_small nf_regnet_b0 nfnet_l0 pit_ti_224 pit_ti_distilled_224 pnasnet5large poolformer_s12 "
    "pvt_v2_b0 rdnet_tiny regnety_002 regnetz_005 repghostnet_050 repvgg_a0 repvit_m0_9 res2net50_14w_8s resmlp_12_224 "
    "resnest14d resnet10t "
    "resnet14t resnetblur18 resnetrs50 resnetv2_18 resnext26ts rexnet_100 samvit_base_patch16_224 sehalonet33ts selecsls42 semnasnet_050 "
    "sequencer2d_s shvit_s1 skresnet18 spnasnet_100 starnet_s050 swiftformer_xs swin_tiny_patch4_window7_224 swinv2_cr_tiny_224 "
    "swinv2_tiny_window8_256 tf_efficientnet_b0 tf_mobilenetv3_small_minimal_100 tinynet_e tiny_vit_5m_224 tnt_s_patch16_224 tresnet_m "
    "twins_pcpvt_small twins_svt_small visformer_tiny vit_base_patch16_siglip_224 vit_medium_patch16_reg4_gap_256 "
    "vit_relpos_small_patch16_224 "
    "vit_small_patch14_reg4_dinov2 vit_small_r26_s32_224 vit_tiny_patch16_224 vitamin_small_224 volo_d1_224 "
    "wide_resnet50_2 xception41 xcit_nano_12_p16_224"
)

TRANSFORMERS = words(
    "BeitForImageClassification CLIPForImageClassification CLIPVisionModelWithProjection ConvNextForImageClassification "
    "ConvNextV2ForImageClassification DeiTForImageClassification Dinov2ForImageClassification Dinov2WithRegistersForImageClassification "
    "MobileNetV2ForImageClassification MobileViTForImageClassification RegNetForImageClassification "
    "ResNetForImageClassification SegformerForImageClassification "
    "SiglipForImageClassification Swinv2ForImageClassification SwinForImageClassification ViTForImageClassification"
)

# Drawn at random from what the lists above do not have; nobody had looked at these when they were first run.
HELD_OUT_TORCHVISION = words(
    "densenet161 densenet169 efficientnet_b2 efficientnet_b3 resnet34 shufflenet_v2_x1_5 shufflenet_v2_x2_0 swin_s"
)

HELD_OUT_TIMM = words(
    "cait_xxs36_224 coat_mini convit_small convmixer_1024_20_ks9_p14 cspresnet50d deit_small_distilled_patch16_224 "
    "densenet161 dla60x dpn68 "
    "edgenext_small_rw efficientformerv2_s1 efficientvit_b1 efficientvit_m2 ese_vovnet19b_slim fasternet_t1 "
    "gcvit_xtiny hardcorenas_b hgnetv2_b3 "
    "hrnet_w18_small_v2 jx_nest_tiny lowformer_e2 mobilevitv2_175 pvt_v2_b2_li regnetz_d8_evos repghostnet_080 "
    "resnest50d resnet50s resnetv2_50d "
    "shvit_s2 starnet_s3 test_mambaout tiny_vit_11m_224 vit_relpos_small_patch16_rpn_224 xcit_small_12_p16_224"
)

HELD_OUT_TRANSFORMERS = words(
    "BitForImageClassification DonutSwinForImageClassification FocalNetForImageClassification "
    "HGNetV2ForImageClassification LevitForImageClassification "
    "PPLCNetForImageClassification PvtForImageClassification PvtV2ForImageClassification"
)

# The results of that first run.
FIRST_RUN = {
    "files": 98,
    "onnxruntime": 95,
    "rten": 95,
    "others": (
        "Two of the others are CoaT's, whose default layer was no picture then. The third asks for a layer of Hugging "
        "Face's LeViT that leaves its module without an axis of images in the newer exporter's file, which is refused by "
        "name."
    ),
}

HELD_OUT = (
    [("torchvision", name) for name in HELD_OUT_TORCHVISION]
    + [("timm", name) for name in HELD_OUT_TIMM]
    + [("transformers", name) for name in HELD_OUT_TRANSFORMERS]
)

MODELS = (
    [("torchvision", name) for name in TORCHVISION]
    + [("torchvision segmentation", name) for name in SEGMENTATION]
    + [("timm", name) for name in TIMM]
    + [("transformers", name) for name in TRANSFORMERS]
    + HELD_OUT
)

# Models that take minutes go last.
LARGE = set(
    words(
        "aimv2_large_patch14_224 nasnetalarge pnasnet5large mobilenetv5_300m inception_resnet_v2 "
        "samvit_base_patch16_224 vit_base_patch16_siglip_224 beit_base_patch16_224 convmixer_768_32 "
        "inception_v3 vgg11 vgg11_bn wide_resnet50_2 vit_b_16 maxvit_t efficientnet_v2_s deeplabv3_resnet50 "
        "fcn_resnet50 dpn48b volo_d1_224 vitamin_small_224 inception_v4 tresnet_m "
        "xception41 sequencer2d_s hieradet_small legacy_xception caformer_s18 convformer_s18 nextvit_small"
    )
)
MODELS.sort(key=lambda model: model[1] in LARGE)

# The side of the image where the family's own costs minutes and shows nothing more.
SIZES = {"nasnetalarge": 224, "pnasnet5large": 224, "mobilenetv5_300m": 224, "hieradet_small": 256}
